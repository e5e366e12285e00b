"""Whether Metaflow's datastore is there, asked before it is needed: Metaflow finds out in its first task, after minutes of trying again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flowbridge.backends.metaflow.configured import setting
from flowbridge.backends.metaflow.home import datastore_of
from flowbridge.errors import ConfigError

if TYPE_CHECKING:
    from flowbridge.backends.metaflow.home import Home
    from flowbridge.backends.metaflow.options import MetaflowOptions

_PATIENCE = 10
_NOT_THERE = {"404", "NoSuchBucket"}


def check_datastore(options: MetaflowOptions, home: Home | None = None) -> None:
    """See that Metaflow's datastore is there: the bucket, or the folder of a run here.

    Args:
        options: Settings of the profile.
        home: Of the run; None where it is not started from here.

    Raises:
        ConfigError: It is not; says what was looked for.
    """
    kind = datastore_of(options) or setting("DEFAULT_DATASTORE", options)
    if kind == "s3":
        _check_bucket(str(options.datastore_root or setting("DATASTORE_SYSROOT_S3", options) or ""), options)
    elif kind == "local" and home is not None and home.sysroot is not None:
        try:
            home.sysroot.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"Metaflow's datastore {home.sysroot} cannot be made: {error}. Set datastore_root to a folder of yours"
            ) from None
        if not os.access(home.sysroot, os.W_OK):
            raise ConfigError(f"Metaflow's datastore {home.sysroot} cannot be written. Set datastore_root to a folder of yours")


def _check_bucket(root: str, options: MetaflowOptions) -> None:
    where = f"Metaflow's datastore {root!r}"
    url = urlsplit(root)
    if url.scheme != "s3" or not url.netloc:
        raise ConfigError(f"{where} is no bucket: write s3://BUCKET/FOLDER, as datastore_root or METAFLOW_DATASTORE_SYSROOT_S3")
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # type: ignore[import-untyped]  # noqa: PLC0415  (0.3 s: only with a bucket)

    try:
        _client(options).head_bucket(Bucket=url.netloc)
    except NoCredentialsError:
        raise ConfigError(
            f"{where} needs credentials of AWS, and none are found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from None
    except ClientError as error:
        if str(error.response.get("Error", {}).get("Code")) in _NOT_THERE:  # who may not list a bucket may still write into it
            raise ConfigError(f"{where}: there is no bucket {url.netloc!r}. Make it, or name another") from None
    except BotoCoreError as error:
        raise ConfigError(f"{where} cannot be reached: {error}") from None


def _client(options: MetaflowOptions) -> Any:
    import boto3  # type: ignore[import-untyped]  # noqa: PLC0415
    from botocore.config import Config  # type: ignore[import-untyped]  # noqa: PLC0415

    env = {**os.environ, **options.env}
    session = boto3.Session(
        aws_access_key_id=env.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=env.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=env.get("AWS_SESSION_TOKEN"),
        region_name=env.get("AWS_DEFAULT_REGION") or env.get("AWS_REGION"),
        profile_name=env.get("AWS_PROFILE"),
    )
    endpoint = setting("S3_ENDPOINT_URL", options) or env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
    config = Config(connect_timeout=_PATIENCE, read_timeout=_PATIENCE, retries={"total_max_attempts": 2})
    return session.client("s3", endpoint_url=endpoint or None, config=config)
