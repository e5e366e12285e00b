"""The command every pod starts with: an image that has flowbridge goes on at once, any other installs it first."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from flowbridge.backends.kubeflow.options import pod_store_options

if TYPE_CHECKING:
    from flowbridge.backends.kubeflow.options import KubeflowOptions
    from flowbridge.backends.kubeflow.wheel import Wheel
    from flowbridge.settings import Profile

POD = "flowbridge.backends.kubeflow.pod"
MARKER = "kfp.dsl.executor_main"
"""kfp's local runner starts only commands with this text in them (`kfp/local/subprocess_task_handler.py`); the pod ignores it."""
FROM_STORE = "store:"
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_DRIVERS = {"s3": "s3fs", "gcs": "gcsfs"}

SCRIPT = f"""
import importlib.util,json,os,runpy,subprocess,sys
a=sys.argv[1:]
if importlib.util.find_spec("flowbridge"):
    runpy.run_module("{POD}",run_name="__main__",alter_sys=True)
else:
    def pip(*p): subprocess.check_call([sys.executable,"-m","pip","install","--quiet","--disable-pip-version-check",*p])
    def arg(n): return a[a.index(n)+1]
    *first,last=json.loads(arg("--install"))
    if first: pip(*first)
    if last.startswith("{FROM_STORE}"):
        import fsspec
        path,name,extras=last[{len(FROM_STORE)}:].split("#")
        with fsspec.open(arg("--store").rstrip("/")+"/"+path,"rb",**json.loads(arg("--options"))) as f: data=f.read()
        wheel=os.path.join(os.environ.get("TMPDIR","/tmp"),name)
        with open(wheel,"wb") as f: f.write(data)
        last=wheel+extras
    pip(last)
    os.execv(sys.executable,[sys.executable,"-m","{POD}",*a])
""".strip()
COMMAND = ("python3", "-c", SCRIPT)


def store_arguments(profile: Profile, options: KubeflowOptions, wheel: Wheel | None) -> list[str]:
    """Return the arguments that tell a pod where the store is and how it gets flowbridge.

    Args:
        profile: Its store and how to open it.
        options: The profile's settings.
        wheel: The wheel in the store that pods install, where there is one.
    """
    opened: dict[str, Any] = pod_store_options(profile, options)
    return [
        *([] if profile.trust else ["--distrust"]),
        "--store",
        profile.store,
        "--options",
        json.dumps(opened, sort_keys=True, separators=(",", ":")),
        "--install",
        json.dumps(install(profile, options, wheel), separators=(",", ":")),
    ]


def install(profile: Profile, options: KubeflowOptions, wheel: Wheel | None) -> list[str]:
    """Return what pip installs, the last being flowbridge itself; what stands before is needed to fetch a wheel from the store."""
    extras = needed_extras(profile, options)
    bracket = f"[{','.join(extras)}]" if extras else ""
    if wheel is not None:
        return ["fsspec", *drivers(profile, options), f"{FROM_STORE}{wheel.path}#{wheel.name}#{bracket}"]
    source = options.install
    if source is None or source == "this":
        return [f"flowbridge{bracket}{_version()}"]
    if "://" in source:
        return [f"flowbridge{bracket} @ {source}"]
    head, equals, rest = source.partition("==")
    return [head + ("" if "[" in head else bracket) + equals + rest]


def _version() -> str:
    """Return the version in use as a requirement."""
    try:
        return f"=={version('flowbridge')}"
    except PackageNotFoundError:  # run from its folder, never installed
        return ""


def drivers(profile: Profile, options: KubeflowOptions) -> list[str]:
    """Return the packages that open the store."""
    return [_DRIVERS[extra] for extra in needed_extras(profile, options) if extra in _DRIVERS]


def needed_extras(profile: Profile, options: KubeflowOptions) -> list[str]:
    """Return the extras of flowbridge that a pod needs: those of the store unless the profile names others."""
    if options.extras is not None:
        return list(options.extras)
    protocol = profile.store.split("://", 1)[0] if "://" in profile.store else ""
    return [_EXTRAS[protocol]] if protocol in _EXTRAS else []
