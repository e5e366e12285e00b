"""A small Kubernetes API server with Kubeflow Trainer: TrainJobs are taken, checked and recorded, their nodes are processes of this machine.

Checked is what the custom resource's schema, its webhook and strict decoding check: fields, names, counts, reserved variables.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path
from typing import Any

from tests.unit.backends.kubeflow.fake_http import FakeHttp, Json, Refusal

JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/ml/trainjobs"
TRAINER = {"image", "command", "args", "env", "numNodes", "numProcPerNode", "resourcesPerNode"}
POD = {
    "serviceAccountName", "volumes", "initContainers", "containers", "imagePullSecrets", "securityContext", "nodeSelector", "affinity",
    "tolerations", "schedulingGates", "terminationGracePeriodSeconds",
}  # fmt: skip
RESERVED = {"PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"}


class FakeCluster(FakeHttp):
    """The server and what it was asked.

    Attributes:
        requests: Every (method, path, query, body) so far.
        jobs: TrainJobs that are there, by name.
        made: Every TrainJob ever created.
        processes: Of each TrainJob, by name, its nodes.
        version: Of Trainer: 2.1 knows podTemplateOverrides, 2.2 runtimePatches.
        runtimes: Names of the runtimes in the cluster.
        refuse: Errors that the next requests of a kind get, as method -> list of (code, text); 0 loses the answer of a request that was done.
        waiting: If set, nodes never start and their pods wait for this: (reason, message).
        fail: If set, TrainJobs fail at once with this condition, without a process.
        restarts: Nodes that end with an error are started anew so often, as Kubernetes does.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.requests: list[tuple[str, str, Json, Any]] = []
        self.jobs: dict[str, Json] = {}
        self.made: list[Json] = []
        self.processes: dict[str, list[subprocess.Popen[str]]] = {}
        self.output: dict[str, str] = {}
        self.version = "2.2"
        self.runtimes = {"torch-distributed"}
        self.refuse: dict[str, list[tuple[int, str]]] = {}
        self.waiting: tuple[str, str] | None = None
        self.fail: Json | None = None
        self.restarts = 0
        self.account = folder / "account"
        self.account.mkdir()
        claims = base64.urlsafe_b64encode(json.dumps({"sub": "system:serviceaccount:ml:pipeline-runner"}).encode()).rstrip(b"=")
        (self.account / "token").write_text(f"e30.{claims.decode()}.x")
        (self.account / "namespace").write_text("ml")
        self.listen()

    def close(self) -> None:
        """Stop answering, and every node."""
        for name in list(self.jobs):
            self._kill(name)
        self.stop()

    def told(self, refusal: Refusal) -> Json:
        return {"kind": "Status", "status": "Failure", "message": refusal.message, "code": refusal.code}

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Json:
        url = urllib.parse.urlsplit(target)
        query = {k: v[0] for k, v in urllib.parse.parse_qs(url.query).items()}
        payload = json.loads(body) if body else None
        self.requests.append((method, url.path, query, payload))
        if headers.get("Authorization") != f"Bearer {(self.account / 'token').read_text()}":
            raise Refusal(401, "Unauthorized")
        lost = False
        if self.refuse.get(method):
            code, text = self.refuse[method].pop(0)
            if code:
                raise Refusal(code, text)
            lost = True
        answer = self._route(method, url.path, query, payload)
        if lost:
            raise Refusal(0, "")
        return answer

    def _route(self, method: str, path: str, query: Json, body: Any) -> Json:
        if path == "/api/v1/namespaces/ml/pods":
            return {"items": self._pods(query["labelSelector"].partition("=")[2])}
        if path == JOBS and method == "POST":
            return self._create(query, body)
        if path == JOBS:
            key, _, value = query["labelSelector"].partition("=")
            return {"items": [j for j in self.jobs.values() if j["metadata"].get("labels", {}).get(key) == value]}
        name = path.removeprefix(f"{JOBS}/")
        if name not in self.jobs:
            raise Refusal(404, f'trainjobs.trainer.kubeflow.org "{name}" not found')
        if method == "DELETE":
            self._kill(name)
            return {"status": "Success"}
        return self.jobs[name]

    # --- TrainJobs ---

    def _create(self, query: Json, job: Json) -> Json:
        assert query == {"fieldValidation": "Strict"}, "without it, unknown fields are dropped without a word"
        name = job["metadata"]["name"]
        self._check(job)
        if name in self.jobs:
            raise Refusal(409, f'trainjobs.trainer.kubeflow.org "{name}" already exists')
        job = {**job, "status": {}}
        self.jobs[name] = job
        self.made.append(job)
        if self.fail is not None:
            job["status"] = {"conditions": [{"type": "Failed", "status": "True", **self.fail}]}
        elif self.waiting is None:
            thread = threading.Thread(target=self._run, args=(name, job), daemon=True)
            self.threads.append(thread)
            thread.start()
        return job

    def _check(self, job: Json) -> None:
        spec, form = job["spec"], "podTemplateOverrides" if self.version == "2.1" else "runtimePatches"
        unknown = [f"spec.{key}" for key in spec if key not in {"runtimeRef", "trainer", form}]
        unknown += [f"spec.trainer.{key}" for key in spec["trainer"] if key not in TRAINER]
        unknown += [f"spec.{form}.spec.{key}" for key in self.patched_pod(job) if key not in POD]
        if unknown:
            raise Refusal(
                400, f'TrainJob in version "v1alpha1" cannot be handled as a TrainJob: strict decoding error: unknown field "{unknown[0]}"'
            )
        if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"]) or len(job["metadata"]["name"]) > 50:
            raise Refusal(422, "metadata.name must match RFC 1035 DNS label format")
        if spec["runtimeRef"]["name"] not in self.runtimes:
            raise Refusal(403, 'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: spec.runtimeRef: not found')
        if RESERVED & {e["name"] for e in spec["trainer"]["env"]}:
            raise Refusal(403, "must not have reserved envs")
        for manager in spec.get("runtimePatches", ()):
            if not re.fullmatch(r"[a-z0-9.-]+/[A-Za-z0-9/_-]+", manager["manager"]):
                raise Refusal(422, "spec.runtimePatches.manager: must be a domain-prefixed path")

    def patched_pod(self, job: Json) -> Json:
        """Return what is patched into a node's pod."""
        found: Json = {}
        for patch in job["spec"].get("runtimePatches", ()):
            for replicated in patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]:
                assert replicated["name"] == "node"
                found = replicated["template"]["spec"]["template"].get("spec", {})
        for override in job["spec"].get("podTemplateOverrides", ()):
            assert override["targetJobs"] == [{"name": "node"}]
            found = override.get("spec", {})
        return found

    def _run(self, name: str, job: Json) -> None:
        trainer, port = job["spec"]["trainer"], _free_port()
        size = trainer["numNodes"]
        codes = dict.fromkeys(range(size), 1)
        for _ in range(self.restarts + 1):
            again = [rank for rank, code in codes.items() if code]
            started = {rank: self._node(name, trainer, rank, size, port) for rank in again}
            self.processes.setdefault(name, []).extend(started.values())
            for rank, process in started.items():
                text, _ = process.communicate()
                self.output[f"{name}/{rank}"] = self.output.get(f"{name}/{rank}", "") + text
                codes[rank] = process.returncode
            if name not in self.jobs or not any(codes.values()):
                break
        kind, reason = ("Failed", "JobSetFailed") if any(codes.values()) else ("Complete", "AllJobsCompleted")
        job["codes"] = codes
        job["status"] = {"conditions": [{"type": kind, "status": "True", "reason": reason, "message": f"jobset {kind.lower()}"}]}

    def _node(self, name: str, trainer: Json, rank: int, size: int, port: int) -> subprocess.Popen[str]:
        command = [sys.executable if word == "python3" else word for word in trainer["command"]]
        arguments = [a.replace("$$(", "$(") for a in trainer["args"]]
        given = {e["name"]: e["value"] for e in trainer["env"] if "value" in e}
        torch = {
            "PET_NNODES": str(size),
            "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
            "PET_NODE_RANK": str(rank),
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(port),
            "JOB_COMPLETION_INDEX": str(rank),
            "HOSTNAME": f"{name}-node-0-{rank}",
        }
        env = {k: v for k, v in os.environ.items() if not k.startswith("KFP_")} | given | torch
        return subprocess.Popen(
            [*command, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def _pods(self, name: str) -> list[Json]:
        if name not in self.jobs:
            return []
        count = self.jobs[name]["spec"]["trainer"]["numNodes"]
        state: Json = {"running": {}}
        if self.waiting is not None:
            state = {"waiting": {"reason": self.waiting[0], "message": self.waiting[1]}}
        codes = self.jobs[name].get("codes", {})
        return [
            {
                "metadata": {"name": f"{name}-node-0-{rank}-x7k2p"},
                "status": {
                    "containerStatuses": [
                        {"state": {"terminated": {"exitCode": codes[rank], "reason": "Error"}} if codes.get(rank) else state}
                    ]
                },
            }
            for rank in range(count)
        ]

    def _kill(self, name: str) -> None:
        self.jobs.pop(name, None)
        for process in self.processes.get(name, ()):
            if process.poll() is None:
                process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
