"""The command every pod starts with: an image that has flowbridge goes on at once, any other installs it first, in a folder of its own."""

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
STORE_OPTIONS, NOTHING = "FLOWBRIDGE_STORE_OPTIONS", "{}"
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_BUILT_IN = frozenset({"file", "local", "memory"})
_DRIVERS = {"s3": "s3fs", "gcs": "gcsfs"}

SCRIPT = f"""
import importlib,importlib.util,json,os,runpy,sys
a=sys.argv[1:]
has=importlib.util.find_spec
if has("flowbridge"):
    runpy.run_module("{POD}",run_name="__main__",alter_sys=True)
else:
    import subprocess,tempfile,venv
    d=tempfile.mkdtemp(prefix="flowbridge-")
    venv.create(d,system_site_packages=True,symlinks=True)
    py,lib=d+"/bin/python",d+"/lib/python%d.%d/site-packages"%sys.version_info[:2]
    with open(lib+"/image.pth","w") as f:
        for p in sys.path:
            if p.endswith("-packages"): print("import site;site.addsitedir(%r)"%p,file=f)
    def run(*p): subprocess.check_call([py,"-m",*p])
    def pip(*p): run("pip","install","--quiet","--disable-pip-version-check","--no-user",*p)
    def arg(n): return a[a.index(n)+1]
    if not has("pip"):
        try: run("ensurepip")
        except subprocess.CalledProcessError: sys.exit("flowbridge: the image has neither flowbridge nor pip nor ensurepip; it needs one")
    *first,last=json.loads(arg("--install"))
    if first: pip(*first)
    if last.startswith("{FROM_STORE}"):
        sys.path.insert(0,lib)
        importlib.invalidate_caches()
        import fsspec
        path,name,extras=last[{len(FROM_STORE)}:].split("#")
        o=json.loads(arg("--options"))
        o.update(json.loads(os.environ.get("{STORE_OPTIONS}","{NOTHING}")))
        with fsspec.open(arg("--store").rstrip("/")+"/"+path,"rb",**o) as f: data=f.read()
        wheel=d+"/"+name
        with open(wheel,"wb") as f: f.write(data)
        last=wheel+extras
    pip(last)
    os.execv(py,[py,"-m","{POD}",*a])
""".strip()
"""A virtual environment on top of what the image has: the user of the pod need not own the image's Python nor have a home, an image
whose Python is managed by its distribution (PEP 668) takes part, and no variable tells other interpreters of the pod about it."""
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
    """Return the extras of flowbridge that a pod needs: that of the store, and those that the profile names."""
    return list(dict.fromkeys((*_store_extra(profile), *(options.extras or ()))))


def _store_extra(profile: Profile) -> tuple[str, ...]:
    scheme = _scheme(profile)
    return (_EXTRAS[scheme],) if scheme in _EXTRAS else ()


def driver_note(profile: Profile) -> str | None:
    """Return that the store needs a driver which only the image can bring, if it does: flowbridge has no extra for it."""
    scheme = _scheme(profile)
    if not scheme or scheme in _EXTRAS or scheme in _BUILT_IN:
        return None
    return f"pods open the store {profile.store!r} only where their image has fsspec's driver for {scheme}://, which flowbridge does not install"


def _scheme(profile: Profile) -> str:
    return profile.store.split("://", 1)[0] if "://" in profile.store else ""
