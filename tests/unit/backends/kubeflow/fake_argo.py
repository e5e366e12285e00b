"""Executes pipeline IR as a Kubeflow Pipelines 2.15 server was seen to do, pods being processes of this machine.

What the server does behind one's back is done here too: components are taken for one another by the hash of their container, placeholders
are filled in only where the server fills them in, Argo's templating runs over the rest, what waits for something skipped or failed is left
out, every declared output must be written, and artifacts must not be inputs nor point into a bucket that is not the server's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]
SUCCEEDED, FAILED, OMITTED, SKIPPED = "SUCCEEDED", "FAILED", "OMITTED", "SKIPPED"
BUCKETS = ("s3://", "gs://", "minio://")


class RunFailed(Exception):
    """A driver or a pod failed; the text is what the server would tell."""


@dataclass
class Pod:
    """One user container that was started."""

    task: str
    component: str
    attempt: int
    args: list[str]
    code: int
    output: str
    inputs: Json


@dataclass
class Execution:
    """One run of a pipeline.

    Attributes:
        spec: The pipeline, as it was sent.
        parameters: As given; defaults are filled in.
        run_id: Id of the run on the server.
        name: Display name of the run.
        workers: Pods at once.
        break_pods: Names of tasks whose pod dies before it starts anything.
    """

    spec: Json
    platform: Json
    parameters: Json
    run_id: str
    name: str
    workers: int = 2
    break_pods: frozenset[str] = frozenset()
    pods: list[Pod] = field(default_factory=list)
    states: list[tuple[str, str, str]] = field(default_factory=list)
    artifacts: list[Json] = field(default_factory=list)
    drivers: int = 0
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    stopped: bool = False

    def __post_init__(self) -> None:
        self.slots = threading.Semaphore(self.workers)
        self.folder = Path(tempfile.mkdtemp(prefix="fake-argo-"))
        self.first_by_hash: dict[str, Json] = {}
        self._visit("root", self.spec["root"], set())

    def _visit(self, name: str, component: Json, seen: set[str]) -> None:
        """Go through components in the server's order: of those with equal containers the first one counts."""
        if name in seen:
            return
        seen.add(name)
        label = component.get("executorLabel")
        if label is not None:
            self.first_by_hash.setdefault(self.hash_of(label), component)
        for _, task in sorted(component.get("dag", {}).get("tasks", {}).items()):
            self._visit(task["componentRef"]["name"], self.spec["components"][task["componentRef"]["name"]], seen)

    def hash_of(self, label: str) -> str:
        container = self.spec["deploymentSpec"]["executors"][label]["container"]
        return hashlib.sha256(json.dumps(container, sort_keys=True).encode()).hexdigest()

    def run(self) -> str:
        """Run to the end and return the run's state."""
        declared = self.spec["root"].get("inputDefinitions", {}).get("parameters", {})
        values = {name: d["defaultValue"] for name, d in declared.items() if "defaultValue" in d}
        self.drivers += 1
        return self.dag("root", self.spec["root"], {**values, **self.parameters})

    def stop(self) -> None:
        """Tell all pods to end, as Argo does; nothing further starts."""
        self.stopped = True
        for process in self.processes:
            if process.poll() is None:
                process.terminate()

    # --- DAGs ---

    def dag(self, name: str, component: Json, inputs: Json) -> str:
        """Run the tasks of a DAG, each when all it waits for has succeeded."""
        return _Dag(self, name, component["dag"]["tasks"], inputs).run()

    def task(self, dag: str, name: str, task: Json, inputs: Json, outputs: dict[str, Json]) -> str:
        """Run one task: a container, a DAG, or a loop over a DAG."""
        self.drivers += 1
        component = self.spec["components"][task["componentRef"]["name"]]
        try:
            self.check_running()
            given = self.resolve(name, task, component, inputs, outputs)
            if "parameterIterator" in task:
                state = self.loop(name, task, component, given)
            elif "dag" in component:
                state = self.dag(task["componentRef"]["name"], component, given)
            else:
                state = self.container(name, task, component, given, outputs)
        except RunFailed as error:
            state = FAILED
            self.states.append((dag, name, f"{FAILED}: {error}"))
            return state
        self.states.append((dag, name, state))
        return state

    def check_running(self) -> None:
        if self.stopped:
            raise RunFailed("terminated")

    def loop(self, name: str, task: Json, component: Json, given: Json) -> str:
        iterator = task["parameterIterator"]
        items = given.pop(iterator["items"]["inputParameter"])
        limit = task.get("iteratorPolicy", {}).get("parallelismLimit") or max(1, len(items))
        declared = component["inputDefinitions"]["parameters"][iterator["itemInput"]]["parameterType"]

        def iteration(item: Any) -> str:
            self.drivers += 1
            if declared == "NUMBER_INTEGER" and not isinstance(item, (int, float)):
                raise RunFailed(
                    f"input parameter {iterator['itemInput']!r} type mismatch: expect NUMBER_INTEGER, got {type(item).__name__}"
                )
            return self.dag(task["componentRef"]["name"], component, {**given, iterator["itemInput"]: item})

        with ThreadPoolExecutor(limit) as pool:
            states = list(pool.map(iteration, items))
        del name
        return FAILED if FAILED in states else SUCCEEDED

    # --- inputs ---

    def resolve(self, name: str, task: Json, component: Json, inputs: Json, outputs: dict[str, Json]) -> Json:
        """Return a task's input parameters, checked against the component that the server takes it for."""
        label = component.get("executorLabel")
        if label is not None:
            component = self.first_by_hash[self.hash_of(label)]
        if task.get("inputs", {}).get("artifacts"):
            raise RunFailed("unsupported Cloud bucket")
        given: Json = {}
        for key, source in task.get("inputs", {}).get("parameters", {}).items():
            if "componentInputParameter" in source:
                if source["componentInputParameter"] not in inputs:
                    raise RunFailed(f"parent DAG does not have input parameter {source['componentInputParameter']}")
                given[key] = inputs[source["componentInputParameter"]]
            elif "taskOutputParameter" in source:
                taken = source["taskOutputParameter"]
                given[key] = outputs[taken["producerTask"]][taken["outputParameterKey"]]
            else:
                given[key] = self.constant(source["runtimeValue"]["constant"], name)
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        item = task.get("parameterIterator", {}).get("itemInput")
        for key, about in declared.items():
            if key not in given:
                if key != item and "defaultValue" not in about and not about.get("isOptional"):
                    raise RunFailed(f'neither value nor default value provided for non-optional parameter "{key}"')
                continue
            given[key] = _typed(key, about["parameterType"], given[key])
        return given

    def constant(self, value: Any, task: str) -> Any:
        whole = {
            "{{$.pipeline_job_uuid}}": self.run_id,
            "{{$.pipeline_job_name}}": self.name,
            "{{$.pipeline_task_name}}": task,
        }
        if isinstance(value, str) and value in whole:
            return whole[value]
        return self.argo(value) if isinstance(value, str) else value

    @staticmethod
    def argo(text: str) -> str:
        """Replace what Argo's templating knows; anything else is left."""
        return re.sub(r"\{\{workflow\.name\}\}", "wf-x7k2p", text)

    # --- pods ---

    def container(self, name: str, task: Json, component: Json, given: Json, outputs: dict[str, Json]) -> str:
        label = component["executorLabel"]
        counts = self.first_by_hash[self.hash_of(label)]
        retries = task.get("retryPolicy", {}).get("maxRetryCount", 0)
        for attempt in range(retries + 1):
            with self.slots:
                self.check_running()
                made = self.pod(name, task, component["executorLabel"], counts, given, attempt)
            if made is not None:
                outputs[name] = made
                return SUCCEEDED
        return FAILED

    def pod(self, name: str, task: Json, label: str, component: Json, given: Json, attempt: int) -> Json | None:
        """Start one pod; None where it failed."""
        if name in self.break_pods:
            raise RunFailed("Pod was evicted: The node was low on resource: memory")
        container = self.spec["deploymentSpec"]["executors"][label]["container"]
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        executor_input = self.executor_input(component, given, folder)
        args = [self.fill(a, executor_input, attempt if "retryPolicy" in task else None) for a in container.get("args", ())]
        env = {
            **os.environ,
            **{e["name"]: self.argo(e["value"]) for e in container.get("env", ())},
            "KFP_POD_NAME": f"wf-x7k2p-{name}",
            "KFP_POD_UID": "uid-1",
        }
        command = [sys.executable if word == "python3" else word for word in container["command"]]
        process = subprocess.Popen([*command, *args], env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.processes.append(process)
        if self.stopped:  # while this one was being started
            process.kill()
        output, _ = process.communicate()
        self.pods.append(Pod(name, label, attempt, args, process.returncode, output, given))
        if process.returncode != 0:
            return None
        return self.collect(component, executor_input)

    def executor_input(self, component: Json, given: Json, folder: Path) -> Json:
        declared = component.get("outputDefinitions", {})
        return {
            "inputs": {"parameterValues": given},
            "outputs": {
                "parameters": {n: {"outputFile": str(folder / "outputs" / n)} for n in declared.get("parameters", {})},
                "artifacts": {
                    n: {"artifacts": [{"name": n, "type": a["artifactType"], "uri": str(folder / "artifacts" / n), "metadata": {}}]}
                    for n, a in declared.get("artifacts", {}).items()
                },
                "outputFile": str(folder / "kfp_outputs" / "output_metadata.json"),
            },
        }

    def fill(self, argument: str, executor_input: Json, attempt: int | None) -> str:
        """Fill in what the launcher and Argo fill in, in arguments."""
        if attempt is not None:
            argument = argument.replace("{{retries}}", str(attempt))
        argument = self.argo(argument).replace("{{$}}", json.dumps(executor_input))
        for name, value in executor_input["inputs"]["parameterValues"].items():
            text = value if isinstance(value, str) else json.dumps(value)
            argument = argument.replace(f"{{{{$.inputs.parameters['{name}']}}}}", text)
        return argument

    def collect(self, component: Json, executor_input: Json) -> Json:
        """Read what a pod wrote; everything declared must be there, and artifacts must be the server's own or of no known scheme."""
        path = Path(executor_input["outputs"]["outputFile"])
        told = json.loads(path.read_text()) if path.exists() else {}
        values: Json = dict(told.get("parameterValues", {}))
        for name, about in component.get("outputDefinitions", {}).get("parameters", {}).items():
            file = Path(executor_input["outputs"]["parameters"][name]["outputFile"])
            if name not in values:
                if not file.exists():
                    raise RunFailed(f'failed to read output parameter name="{name}"')
                values[name] = file.read_text() if about["parameterType"] == "STRING" else json.loads(file.read_text())
        for name, artifacts in told.get("artifacts", {}).items():
            for artifact in artifacts["artifacts"]:
                if artifact.get("uri", "").startswith(BUCKETS):
                    raise RunFailed(f"URI {artifact['uri']} does not have expected bucket prefix")
                self.artifacts.append({**artifact, "output": name})
        return values


class _Dag:
    """The tasks of one DAG while it runs; each has a thread of its own."""

    def __init__(self, execution: Execution, name: str, tasks: Json, inputs: Json) -> None:
        self.execution = execution
        self.name = name
        self.tasks = tasks
        self.inputs = inputs
        self.exits = {n for n, t in tasks.items() if t.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"}
        self.done: dict[str, str] = {}
        self.outputs: dict[str, Json] = {}
        self.started: set[str] = set()
        self.wake = threading.Condition()

    def run(self) -> str:
        body = [n for n in self.tasks if n not in self.exits]
        with self.wake:
            while len(self.done) < len(body):
                moved = [n for n in body if n not in self.started and self.advance(n)]
                if not moved:
                    self.wake.wait()
        return FAILED if FAILED in self.done.values() or self.execution.stopped else SUCCEEDED

    def advance(self, name: str) -> bool:
        """Start a task, or leave it out; say whether either was time."""
        before = [self.done.get(n) for n in _needs(self.tasks[name])]
        if any(state in {FAILED, OMITTED, SKIPPED} for state in before):
            self.started.add(name)
            self.done[name] = OMITTED
            self.execution.states.append((self.name, name, OMITTED))
            return True
        if all(state == SUCCEEDED for state in before):
            self.started.add(name)
            threading.Thread(target=self.start, args=(name,)).start()
            return True
        return False

    def start(self, name: str) -> None:
        state = self.execution.task(self.name, name, self.tasks[name], self.inputs, self.outputs)
        for other in self.exits:
            if name in self.tasks[other].get("dependentTasks", ()):  # a hook on each task it waits for
                self.execution.task(self.name, other, self.tasks[other], self.inputs, self.outputs)
        with self.wake:
            self.done[name] = state
            self.wake.notify_all()


def _needs(task: Json) -> list[str]:
    found = dict.fromkeys(task.get("dependentTasks", ()))
    for source in task.get("inputs", {}).get("parameters", {}).values():
        if "taskOutputParameter" in source:
            found[source["taskOutputParameter"]["producerTask"]] = None
    return list(found)


def _typed(name: str, wanted: str, value: Any) -> Any:
    """Check a value as the driver does: anything becomes a text, nothing is made out of a text."""
    if wanted == "STRING":
        return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    kinds: dict[type, tuple[str, ...]] = {
        bool: ("BOOLEAN",),
        int: ("NUMBER_INTEGER", "NUMBER_DOUBLE"),
        float: ("NUMBER_INTEGER", "NUMBER_DOUBLE"),
        list: ("LIST",),
        dict: ("STRUCT",),
        str: (),
    }
    if wanted not in kinds[type(value)]:
        raise RunFailed(f'input parameter "{name}" type mismatch: expect {wanted}, got {type(value).__name__}')
    return value
