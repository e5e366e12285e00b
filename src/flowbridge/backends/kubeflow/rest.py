"""The REST calls of a Kubeflow Pipelines server, with nothing but Python's own HTTP client."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbridge.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowbridge.backends.kubeflow.options import KubeflowOptions

Json = dict[str, Any]
API = "/apis/v2beta1"
TIMEOUT = 60.0
READ_ATTEMPTS = 4
PAUSE = 0.5
DENIED, MISSING, CONFLICT = (401, 403), 404, 409
_EQUALS = 1


class ServerUnreachableError(BackendError):
    """The Kubeflow server did not answer."""


class AccessDeniedError(BackendError):
    """The Kubeflow server does not let this user in, or not do this."""


class NotOnServerError(BackendError):
    """The Kubeflow server has no such object."""


class RefusedError(BackendError):
    """The Kubeflow server refused what it was sent."""


class Server:
    """One Kubeflow Pipelines server.

    Attributes:
        address: Its URL.
        namespace: Of runs and experiments, where the server has several users.
    """

    def __init__(self, options: KubeflowOptions) -> None:
        if options.address is None:
            raise ConfigError(
                "kubeflow.host is not set: give the URL of a Kubeflow Pipelines server, or 'local' for kfp's own local runner "
                "(FLOWBRIDGE_KUBEFLOW__HOST, or host in [profiles.NAME.kubeflow])"
            )
        self.address = options.address
        self.namespace = options.namespace
        self._headers = credentials(options)
        self._context = tls(options)

    # --- calls ---------------------------------------------------------------------------------------------------------------

    def get(self, path: str, query: Mapping[str, str | None] | None = None) -> Json:
        """Read something; repeated for a while where the server does not answer."""
        for attempt in range(READ_ATTEMPTS - 1):
            with contextlib.suppress(ServerUnreachableError):
                return self.call("GET", path, query=query)
            time.sleep(PAUSE * 2**attempt)
        return self.call("GET", path, query=query)

    def call(
        self, method: str, path: str, *, query: Mapping[str, str | None] | None = None, body: Any = None, multipart: bytes | None = None
    ) -> Json:
        """Send one request and return what the server answers.

        Raises:
            ServerUnreachableError: There was no answer, so nobody knows what the server did.
            AccessDeniedError: The server does not let this user in.
            NotOnServerError: There is no such object.
            RefusedError: The server refused.
        """
        given = {k: v for k, v in (query or {}).items() if v}
        url = f"{self.address}{API}{path}" + (f"?{urllib.parse.urlencode(given)}" if given else "")
        headers = dict(self._headers)
        data = multipart
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        elif multipart is not None:
            headers["Content-Type"] = f"multipart/form-data; boundary={_BOUNDARY}"
        request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310  (the user's own server)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT, context=self._context) as answer:  # noqa: S310
                return self._read(answer.read(), answer.headers.get("Content-Type", ""))
        except urllib.error.HTTPError as error:
            with error:
                raise self._error(error.code, error.read().decode("utf-8", "replace"), f"{method} {path}") from None
        except (urllib.error.URLError, TimeoutError, ConnectionError, ssl.SSLError) as error:
            raise self._unreachable(error) from error

    def _read(self, data: bytes, kind: str) -> Json:
        if "html" in kind or data.lstrip()[:1] == b"<":
            raise AccessDeniedError(
                f"{self.address} answered with a web page, not as a Kubeflow Pipelines server: it is behind a login page, or the path is "
                f"wrong. Set kubeflow.token or kubeflow.cookies, or give the URL whose {API}/healthz answers"
            )
        if not data:
            return {}
        answer = json.loads(data)
        return answer if isinstance(answer, dict) else {"items": answer}

    def _error(self, code: int, text: str, what: str) -> BackendError:
        told = _message(text)
        if code in DENIED:
            how = "It wants to know who you are" if code == DENIED[0] else "You are not allowed to do this"
            where = f" in namespace {self.namespace!r}" if self.namespace else ""
            return AccessDeniedError(
                f"{self.address} refuses {what}{where} ({code}): {told}. {how}: check kubeflow.token (or token_env, cookies) and "
                f"kubeflow.namespace"
            )
        if code == MISSING:
            return NotOnServerError(f"{self.address} has nothing at {what} (404): {told}")
        hint = self._hint(told)
        return RefusedError(f"{self.address} refused {what} ({code}): {told}{hint}")

    def _hint(self, told: str) -> str:
        if "namespace" in told.lower() and self.namespace is None:
            return ". This server has several users: set kubeflow.namespace"
        return ""

    def _unreachable(self, error: Exception) -> ServerUnreachableError:
        reason = getattr(error, "reason", None) or error
        extra = ""
        if isinstance(reason, ssl.SSLError):
            extra = "; its certificate is not trusted here: set kubeflow.ca_cert"
        return ServerUnreachableError(
            f"No Kubeflow Pipelines server answers at {self.address}: {reason}{extra}. Check kubeflow.host, and that it can be reached from here"
        )

    # --- objects -------------------------------------------------------------------------------------------------------------

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, which is made if there is none of that name."""
        answer = self.get("/experiments", {"filter": where("display_name", name), "namespace": self.namespace, "page_size": "1"})
        for found in answer.get("experiments", ()):
            return str(found["experiment_id"])
        body = {"display_name": name, **({"namespace": self.namespace} if self.namespace else {})}
        return str(self.call("POST", "/experiments", body=body)["experiment_id"])

    def create_run(self, run: Json) -> str:
        """Start a run and return its id on the server.

        Where there is no answer, the run is looked for by its name, so that it is never started twice nor forgotten.
        """
        try:
            return str(self.call("POST", "/runs", query={"experiment_id": run.get("experiment_id")}, body=run)["run_id"])
        except ServerUnreachableError as error:
            try:
                found = self.find_run(run["display_name"])
            except BackendError:
                message = f"{error}. Whether it has started the run is not known: look there for {run['display_name']!r}, and terminate it"
                raise ServerUnreachableError(message) from error
            if found is None:
                raise
            return found

    def find_run(self, name: str) -> str | None:
        """Return the id of the run of that name; None if there is none."""
        answer = self.get("/runs", {"filter": where("display_name", name), "namespace": self.namespace, "page_size": "1"})
        return next((str(run["run_id"]) for run in answer.get("runs", ())), None)

    def run(self, run_id: str) -> Json:
        """Return a run as the server sees it."""
        return self.get(f"/runs/{run_id}")

    def terminate(self, run_id: str) -> None:
        """End a run; one that has ended already stays as it is."""
        self.call("POST", f"/runs/{run_id}:terminate")

    def page(self, run_id: str, ui: str | None) -> str:
        """Return the URL of a run's page."""
        return f"{(ui or self.address).rstrip('/')}/#/runs/details/{run_id}"

    def upload(self, name: str, version: str, data: bytes, about: str) -> tuple[str, str]:
        """Upload a pipeline, or a version of one that is there, and return the ids of both. A version that is there is kept.

        A new pipeline's first version is named after the pipeline by the server; the one under its own name is uploaded beside it.
        """
        pipeline = self._pipeline(name)
        if pipeline is None:
            query = {"name": name, "namespace": self.namespace, "description": about}
            made = self.call("POST", "/pipelines/upload", query=query, multipart=multipart(data))
            pipeline = str(made["pipeline_id"])
        known = self.get(f"/pipelines/{pipeline}/versions", {"filter": where("display_name", version), "page_size": "1"})
        for found in known.get("pipeline_versions", ()):
            return pipeline, str(found["pipeline_version_id"])
        made = self.call("POST", "/pipelines/upload_version", query={"name": version, "pipelineid": pipeline}, multipart=multipart(data))
        return pipeline, str(made["pipeline_version_id"])

    def _pipeline(self, name: str) -> str | None:
        try:
            found = self.get(f"/pipelines/names/{urllib.parse.quote(name)}", {"namespace": self.namespace})
        except NotOnServerError:
            return None
        return str(found["pipeline_id"])

    def create_schedule(self, schedule: Json) -> str:
        """Start a recurring run and return its id."""
        return str(self.call("POST", "/recurringruns", body=schedule)["recurring_run_id"])

    def schedules(self, name: str | None = None) -> list[Json]:
        """Return the recurring runs, all or those of a name."""
        query = {"namespace": self.namespace, "filter": where("display_name", name) if name else None}
        return [s for s in self._pages("/recurringruns", query, "recurringRuns", "recurring_runs") if name in (None, s.get("display_name"))]

    def pipelines(self) -> list[Json]:
        """Return the uploaded pipelines."""
        return self._pages("/pipelines", {"namespace": self.namespace}, "pipelines")

    def versions(self, pipeline: str) -> list[Json]:
        """Return the versions of a pipeline, the latest first."""
        found = self._pages(f"/pipelines/{pipeline}/versions", {"sort_by": "created_at desc"}, "pipeline_versions")
        return [version for version in found if version.get("pipeline_id", pipeline) == pipeline]

    def _pages(self, path: str, query: Mapping[str, str | None], *names: str) -> list[Json]:
        """Return the objects of a listing, over all its pages."""
        asked = {**query, "page_size": "100"}
        found: list[Json] = []
        while True:
            answer = self.get(path, asked)
            found += next((answer[name] for name in names if answer.get(name)), [])
            if not answer.get("next_page_token"):
                return found
            asked = {**asked, "page_token": answer["next_page_token"]}

    def delete_pipeline(self, pipeline: str) -> None:
        """Remove a pipeline with all its versions; runs stay. The server removes none that has versions."""
        for version in self.versions(pipeline):
            self.call("DELETE", f"/pipelines/{pipeline}/versions/{version['pipeline_version_id']}")
        self.call("DELETE", f"/pipelines/{pipeline}")

    def switch_schedule(self, schedule_id: str, *, on: bool) -> None:
        """Let a recurring run start runs, or not."""
        self.call("POST", f"/recurringruns/{schedule_id}:{'enable' if on else 'disable'}")

    def delete_schedule(self, schedule_id: str) -> None:
        """Remove a recurring run; its runs stay."""
        self.call("DELETE", f"/recurringruns/{schedule_id}")


def where(key: str, value: str) -> str:
    """Return the filter for objects with a value."""
    return json.dumps({"predicates": [{"operation": _EQUALS, "key": key, "stringValue": value}]})


_BOUNDARY = uuid.UUID(int=0x666C6F77).hex


def multipart(data: bytes) -> bytes:
    """Return a pipeline file as the body of an upload."""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="uploadfile"; filename="pipeline.yaml"\r\n'
    return f"{head}Content-Type: application/x-yaml\r\n\r\n".encode() + data + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _message(text: str) -> str:
    """Return the sentence in a server's error, without its stack."""
    try:
        told = json.loads(text)
    except ValueError:
        told = {}
    if isinstance(told, dict):
        text = str(told.get("error") or told.get("message") or text)
    return text.split("\n", 1)[0][:600] or "no reason given"


def credentials(options: KubeflowOptions) -> dict[str, str]:
    """Return the headers that tell the server who is asking.

    Raises:
        ConfigError: A variable or a file that should hold them does not.
    """
    headers = {}
    token = options.token or _from_variable("token_env", options.token_env)
    if token is None and options.token_file is not None:
        try:
            token = Path(options.token_file).expanduser().read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"kubeflow.token_file {options.token_file!r} cannot be read: {error.strerror}") from error
    cookies = options.cookies or _from_variable("cookies_env", options.cookies_env)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if cookies:
        headers["Cookie"] = cookies
    return headers


def _from_variable(setting: str, name: str | None) -> str | None:
    if name is None:
        return None
    value = os.environ.get(name)
    if not value:
        raise ConfigError(f"kubeflow.{setting} names the environment variable {name}, which is not set")
    return value


def tls(options: KubeflowOptions) -> ssl.SSLContext | None:
    """Return whom to trust; None for plain HTTP."""
    if options.address is None or options.address.startswith("http://"):
        return None
    try:
        context = ssl.create_default_context(cafile=options.ca_cert)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"kubeflow.ca_cert {options.ca_cert!r} cannot be used: {error}") from error
    if not options.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
