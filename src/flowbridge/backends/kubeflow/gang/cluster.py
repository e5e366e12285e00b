"""The Kubernetes API as a pod reaches it, with the pod's own service account and Python's own HTTP client: TrainJobs, and pods to look at."""

from __future__ import annotations

import base64
import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from flowbridge.errors import BackendError

Json = dict[str, Any]
API = "/apis/trainer.kubeflow.org/v1alpha1"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ADDRESS, FOLDER = "FLOWBRIDGE_KUBERNETES_API", "FLOWBRIDGE_SERVICE_ACCOUNT"
"""Another address of the API server, and another folder of the service account, than those every pod has."""
TIMEOUT = 30.0
ATTEMPTS = 6
PAUSE = 1.0
_AGAIN = frozenset({429, 500, 502, 503, 504})
MISSING, CONFLICT = 404, 409


class ClusterError(BackendError):
    """The Kubernetes API refused something, or did not answer.

    Attributes:
        code: HTTP status; 0 where there was no answer.
        told: What it said.
    """

    def __init__(self, message: str, code: int, told: str) -> None:
        super().__init__(message)
        self.code = code
        self.told = told


class Cluster:
    """The cluster that this pod is in.

    Attributes:
        namespace: Of this pod.
    """

    def __init__(self) -> None:
        self._folder = Path(os.environ.get(FOLDER) or ACCOUNT)
        self.namespace = self._read("namespace")
        self._address = os.environ.get(ADDRESS) or _address()
        authority = self._folder / "ca.crt"
        secure = self._address.startswith("https://")
        self._context = ssl.create_default_context(cafile=str(authority) if authority.exists() else None) if secure else None

    # --- objects -------------------------------------------------------------------------------------------------------------

    def create(self, job: Json) -> Json:
        """Create a TrainJob. What this version of Trainer does not know is refused, not dropped."""
        return self._call("POST", self._jobs(), {"fieldValidation": "Strict"}, job)

    def job(self, name: str) -> Json | None:
        """Return a TrainJob; None if there is none of that name."""
        try:
            return self._call("GET", self._jobs(name))
        except ClusterError as error:
            if error.code == MISSING:
                return None
            raise

    def jobs(self, selector: str) -> list[Json]:
        """Return the TrainJobs with a label."""
        found: list[Json] = self._call("GET", self._jobs(), {"labelSelector": selector}).get("items") or []
        return found

    def delete(self, name: str) -> None:
        """Remove a TrainJob with its pods; it is there until they are gone."""
        try:
            self._call("DELETE", self._jobs(name), {"propagationPolicy": "Foreground"})
        except ClusterError as error:
            if error.code != MISSING:
                raise

    def pods(self, job: str) -> list[Json]:
        """Return the pods of a TrainJob."""
        selector = f"jobset.sigs.k8s.io/jobset-name={job}"
        found: list[Json] = self._call("GET", f"/api/v1/namespaces/{self.namespace}/pods", {"labelSelector": selector}).get("items") or []
        return found

    def account(self) -> str | None:
        """Return the name of this pod's service account, which its token tells (``system:serviceaccount:namespace:name``)."""
        parts = self._read("token").split(".")
        try:
            claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
            _, kind, _, name = str(claims["sub"]).split(":")
        except (IndexError, KeyError, ValueError):  # a token of another form
            return None
        return name if kind == "serviceaccount" else None

    def _jobs(self, name: str = "") -> str:
        return f"{API}/namespaces/{self.namespace}/trainjobs" + (f"/{name}" if name else "")

    # --- calls ---------------------------------------------------------------------------------------------------------------

    def _call(self, method: str, path: str, query: dict[str, str] | None = None, body: Json | None = None) -> Json:
        """Send one request, again for a while where the server is not well, and return what it answers.

        Raises:
            ClusterError: It refused, or did not answer.
        """
        for attempt in range(ATTEMPTS - 1):
            try:
                return self._once(method, path, query, body)
            except ClusterError as error:
                if error.code and error.code not in _AGAIN:
                    raise
            time.sleep(PAUSE * 2**attempt)
        return self._once(method, path, query, body)

    def _once(self, method: str, path: str, query: dict[str, str] | None, body: Json | None) -> Json:
        url = f"{self._address}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        headers = {"Authorization": f"Bearer {self._read('token')}", "Accept": "application/json", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310  (the cluster's own address)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT, context=self._context) as answer:  # noqa: S310
                found: Json = json.loads(answer.read() or b"{}")
                return found
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error.code, error.read().decode("utf-8", "replace"), f"{method} {path}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise ClusterError(f"The Kubernetes API at {self._address} did not answer {method} {path}: {reason}", 0, str(reason)) from error

    def _refused(self, code: int, text: str, what: str) -> ClusterError:
        told = _message(text)
        hint = ""
        if code == MISSING and "POST" in what:
            hint = ". Is Kubeflow Trainer 2 installed in this cluster?"
        elif code in (401, 403) and " cannot " in told:
            hint = (
                f". The pods' service account in namespace {self.namespace} needs a role for this: "
                f"create, get, list and delete on trainjobs of trainer.kubeflow.org, and list on pods"
            )
        return ClusterError(f"The Kubernetes API refused {what} ({code}): {told}{hint}", code, told)

    def _read(self, name: str) -> str:
        try:
            return (self._folder / name).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise BackendError(
                f"This pod has no service account ({self._folder / name}: {error.strerror}), so it cannot start the pods of a gang. "
                f"Let it have one (automountServiceAccountToken)"
            ) from error


def _address() -> str:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise BackendError(
            "This process is in no Kubernetes cluster (KUBERNETES_SERVICE_HOST is not set), so it cannot start a gang's pods"
        )
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


def _message(text: str) -> str:
    """Return the sentence in an error of Kubernetes'."""
    try:
        told = json.loads(text)
    except ValueError:
        told = {}
    return str(told.get("message") or text if isinstance(told, dict) else text).strip()[:600] or "no reason given"
