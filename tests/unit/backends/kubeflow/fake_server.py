"""A small Kubeflow Pipelines server: the REST calls of version 2.15 as they were seen, recorded, and runs executed by `fake_argo`."""

from __future__ import annotations

import json
import re
import shutil
import threading
import urllib.parse
import uuid
from typing import Any

from tests.unit.backends.kubeflow.fake_argo import FAILED, SUCCEEDED, Execution
from tests.unit.backends.kubeflow.fake_http import FakeHttp, Json, Refusal

PREFIX = "/apis/v2beta1"


class FakeServer(FakeHttp):
    """The server and what it was asked.

    Attributes:
        requests: Every (method, path, body) so far.
        executions: The runs, by their id.
        token: If set, requests must bear it (401 otherwise).
        namespaces: If set, the server has several users (a namespace is needed, an unknown one gives 403).
        fail_next: Errors that the next requests of a kind get, as (method and path prefix) -> list of (code, text); 0 closes the connection.
        break_pods: Names of tasks whose pods never start.
        held: Runs stay RUNNING and nothing is executed.
    """

    def __init__(self, *, workers: int = 2) -> None:
        super().__init__()
        self.requests: list[tuple[str, str, Any]] = []
        self.executions: dict[str, Execution] = {}
        self.runs: dict[str, Json] = {}
        self.experiments: dict[str, Json] = {}
        self.pipelines: dict[str, Json] = {}
        self.versions: dict[str, Json] = {}
        self.schedules: dict[str, Json] = {}
        self.uploads: list[bytes] = []
        self.token: str | None = None
        self.namespaces: frozenset[str] = frozenset()
        self.fail_next: dict[str, list[tuple[int, str]]] = {}
        self.break_pods: frozenset[str] = frozenset()
        self.held = False
        self.workers = workers
        self.listen()

    def close(self) -> None:
        """Stop answering, and every run."""
        for execution in self.executions.values():
            execution.stop()
        self.stop()
        for execution in self.executions.values():
            shutil.rmtree(execution.folder, ignore_errors=True)

    def told(self, refusal: Refusal) -> Json:
        return {"error": refusal.message, "code": 13, "message": refusal.message}

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Json:
        url = urllib.parse.urlsplit(target)
        query = {k: v[0] for k, v in urllib.parse.parse_qs(url.query).items()}
        path = url.path.removeprefix(PREFIX)
        payload: Any = body
        if headers.get("Content-Type", "").startswith("application/json") and body:
            payload = json.loads(body)
        self.requests.append((method, path, payload))
        for prefix, errors in self.fail_next.items():
            if f"{method} {path}".startswith(prefix) and errors:
                code, text = errors.pop(0)
                if code == -1:  # the server does it, and the answer is lost
                    self._route(method, path, query, payload)
                    code = 0
                raise Refusal(code, text)
        if self.token is not None and headers.get("Authorization") != f"Bearer {self.token}":
            raise Refusal(401, "Unauthenticated: Request header error: there is no user identity header")
        return self._route(method, path, query, payload)

    def _route(self, method: str, path: str, query: Json, body: Any) -> Json:
        routes: list[tuple[str, str, Any]] = [
            ("GET", r"/healthz", lambda: {"multi_user": bool(self.namespaces)}),
            ("GET", r"/experiments", lambda: self._experiments(query)),
            ("POST", r"/experiments", lambda: self._new_experiment(body)),
            ("POST", r"/runs", lambda: self._new_run(body)),
            ("GET", r"/runs", lambda: {"runs": _filtered(self.runs, query)}),
            ("GET", r"/runs/([^/:]+)", self._run),
            ("POST", r"/runs/([^/:]+):terminate", self._terminate),
            ("POST", r"/pipelines/upload", lambda: self._upload(query, body)),
            ("POST", r"/pipelines/upload_version", lambda: self._version(query["pipelineid"], query["name"], body)),
            ("GET", r"/pipelines/names/([^/]+)", self._named),
            ("GET", r"/pipelines", lambda: self._page("pipelines", list(self.pipelines.values()), query)),
            ("DELETE", r"/pipelines/([^/]+)", self._delete_pipeline),
            ("GET", r"/pipelines/([^/]+)/versions", lambda i: {"pipeline_versions": self._versions_of(i, query)}),
            ("DELETE", r"/pipelines/([^/]+)/versions/([^/]+)", lambda _, v: self.versions.pop(v) and {}),
            ("POST", r"/recurringruns", lambda: self._new_schedule(body)),
            ("GET", r"/recurringruns", lambda: {"recurringRuns": _filtered(self.schedules, query)}),
            ("POST", r"/recurringruns/([^/:]+):(enable|disable)", lambda i, v: self.schedules[i].update(mode=v.upper()) or {}),
            ("DELETE", r"/recurringruns/([^/:]+)", lambda i: self.schedules.pop(i) and {}),
        ]
        for wanted, pattern, act in routes:
            found = re.fullmatch(pattern, path)
            if wanted == method and found:
                answer: Json = act(*found.groups())
                return answer
        raise Refusal(404, f"Not Found: {method} {path}")

    # --- experiments ---

    def _experiments(self, query: Json) -> Json:
        self._check_namespace(query.get("namespace"))
        return {"experiments": _filtered(self.experiments, query)}

    def _new_experiment(self, body: Json) -> Json:
        self._check_namespace(body.get("namespace"))
        return self._keep(self.experiments, "experiment_id", body)

    def _check_namespace(self, namespace: str | None) -> None:
        if self.namespaces and not namespace:
            raise Refusal(400, "Invalid input error: Namespace is empty; it is required in multi-user mode")
        if self.namespaces and namespace not in self.namespaces:
            raise Refusal(403, f"PermissionDenied: User is not authorized in namespace {namespace}")

    # --- runs ---

    def _new_run(self, body: Json) -> Json:
        source = body["pipeline_spec"]
        spec, platform = (source["pipeline_spec"], source["platform_spec"]) if "pipeline_spec" in source else (source, {})
        parameters = body.get("runtime_config", {}).get("parameters", {})
        check_at_post(spec, parameters)
        run = self._keep(self.runs, "run_id", {**body, "state": "RUNNING"})
        execution = Execution(spec, platform, parameters, run["run_id"], body["display_name"], self.workers, self.break_pods)
        self.executions[run["run_id"]] = execution
        if not self.held:
            thread = threading.Thread(target=self._execute, args=(run, execution), daemon=True)
            self.threads.append(thread)
            thread.start()
        return run

    def _execute(self, run: Json, execution: Execution) -> None:
        state = execution.run()
        if run["state"] == "RUNNING":
            run["state"] = FAILED if state == FAILED else SUCCEEDED

    def _run(self, run_id: str) -> Json:
        if run_id not in self.runs:
            raise Refusal(404, f"Run {run_id} not found")
        details = []
        for _, name, state in list(self.executions[run_id].states):
            head, _, message = state.partition(": ")
            if head in {FAILED, SUCCEEDED, "PENDING"}:
                details.append({"display_name": name, "state": head, **({"error": {"message": message}} if message else {})})
        return {**{k: v for k, v in self.runs[run_id].items() if k != "pipeline_spec"}, "run_details": {"task_details": details}}

    def _terminate(self, run_id: str) -> Json:
        run = self.runs[run_id]
        if run["state"] == "RUNNING":
            run["state"] = FAILED  # not CANCELED: so it was seen
            self.executions[run_id].stop()
        return {}

    def wait(self, run_id: str) -> str:
        """Wait for a run and return its state."""
        for thread in list(self.threads):
            thread.join()
        state: str = self.runs[run_id]["state"]
        return state

    # --- pipelines and schedules ---

    def _upload(self, query: Json, body: bytes) -> Json:
        told = {"display_name": query["name"], "name": query["name"], "description": query.get("description", "")}
        pipeline = self._keep(self.pipelines, "pipeline_id", told)
        self._version(pipeline["pipeline_id"], query["name"], body)
        return pipeline

    def _version(self, pipeline: str, name: str, body: bytes) -> Json:
        data = body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        self.uploads.append(data)
        spec = json.loads(data.decode().split("\n---\n")[0])
        check_at_post(spec, None)
        created = f"2026-11-25T10:00:{len(self.versions):02d}Z"
        told = {"display_name": name, "pipeline_id": pipeline, "pipeline_spec": spec, "created_at": created}
        return self._keep(self.versions, "pipeline_version_id", told)

    def _versions_of(self, pipeline: str, query: Json) -> list[Json]:
        found = [v for v in _filtered(self.versions, query) if v["pipeline_id"] == pipeline]
        return found[::-1] if query.get("sort_by") == "created_at desc" else found

    def _delete_pipeline(self, pipeline: str) -> Json:
        if any(v["pipeline_id"] == pipeline for v in self.versions.values()):
            raise Refusal(400, "Failed to delete pipeline as it has existing pipeline versions")
        del self.pipelines[pipeline]
        return {}

    def _page(self, name: str, objects: list[Json], query: Json) -> Json:
        """Answer with two objects at a time, so that whoever reads only the first page is found out."""
        begin = int(query.get("page_token", "0"))
        more = {"next_page_token": str(begin + 2)} if begin + 2 < len(objects) else {}
        return {name: objects[begin : begin + 2], **more}

    def _named(self, name: str) -> Json:
        for pipeline in self.pipelines.values():
            if pipeline["name"] == name:
                return dict(pipeline)
        raise Refusal(404, f"Pipeline with name {name} not found")

    def _new_schedule(self, body: Json) -> Json:
        check_cron(body["trigger"]["cron_schedule"]["cron"])
        return self._keep(self.schedules, "recurring_run_id", body)

    def fire(self, schedule_id: str) -> str:
        """Let a recurring run start a run now, and return its id."""
        schedule = self.schedules[schedule_id]
        body = {"display_name": f"{schedule['display_name']} (at 06:00)", **{k: schedule[k] for k in ("pipeline_spec", "runtime_config")}}
        run_id: str = self._new_run(body)["run_id"]
        return run_id

    @staticmethod
    def _keep(where: dict[str, Json], key: str, value: Json) -> Json:
        made = {**value, key: str(uuid.uuid4())}
        where[made[key]] = made
        return made


MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS: tuple[tuple[int, int, tuple[str, ...]], ...] = ((0, 59, ()), (0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, MONTHS), (0, 6, DAYS))


def check_cron(spec: str) -> None:
    """Refuse what `Parse` of robfig/cron 1.2 refuses: it takes five fields or six, the first the seconds, and no time zone."""
    fields = spec.split()
    told = "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron)"
    if len(fields) not in {5, 6}:
        raise Refusal(400, f"{told}: Expected 5 to 6 fields, found {len(fields)}: {spec}")
    try:
        for field, (least, most, names) in zip(fields, FIELDS, strict=False):
            for expr in field.split(","):
                _check_range(expr, least, most, {name: number for number, name in enumerate(names, least)})
    except ValueError as error:
        raise Refusal(400, f"{told}: {error}") from None


def _check_range(expr: str, least: int, most: int, names: Json) -> None:
    span, slash, step = expr.partition("/")
    first, dash, last = span.partition("-")
    low = least if first in {"*", "?"} else _number(first, names)
    high = most if first in {"*", "?"} or (slash and not dash) else _number(last, names) if dash else low
    if not least <= low <= high <= most or (slash and int(step) < 1):
        raise ValueError(f"Range {expr} is not within {least} and {most}")


def _number(text: str, names: Json) -> int:
    return int(names[text.lower()]) if text.lower() in names else int(text)


def _filtered(objects: dict[str, Json], query: Json) -> list[Json]:
    predicates = json.loads(query["filter"])["predicates"] if "filter" in query else []
    return [o for o in objects.values() if all(o.get(p["key"]) == p["stringValue"] for p in predicates)]


def check_at_post(spec: Json, parameters: Json | None) -> None:
    """Refuse what the server was seen to refuse when a run is created: unknown names, cycles, bad names, stray Argo variables."""
    name = spec["pipelineInfo"]["name"]
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name):
        raise Refusal(500, f"InternalServerError: Failed to create a workflow: metadata.generateName: Invalid value: {name!r}")
    _check_tasks(spec)
    if "{{pod.name}}" in json.dumps(spec["deploymentSpec"]):
        raise Refusal(500, "InternalServerError: failed to resolve {{pod.name}}")
    if parameters is not None:
        _check_parameters(spec["root"].get("inputDefinitions", {}).get("parameters", {}), parameters)


def _check_tasks(spec: Json) -> None:
    dags = [spec["root"], *(c for c in spec["components"].values() if "dag" in c)]
    for dag in dags:
        tasks = dag["dag"]["tasks"]
        for task_name, task in tasks.items():
            if not re.fullmatch(r"[a-z][-a-z0-9]*", task_name):
                raise Refusal(500, f"InternalServerError: spec.templates[0].tasks: {task_name!r} is invalid")
            if task["componentRef"]["name"] not in spec["components"]:
                raise Refusal(500, f"InternalServerError: component spec for {task['componentRef']['name']!r} not found")
            for needed in task.get("dependentTasks", ()):
                if needed not in tasks:
                    raise Refusal(500, f"InternalServerError: dependency {needed!r} of {task_name!r} does not exist")


def _check_parameters(declared: Json, parameters: Json) -> None:
    for key, about in declared.items():
        if key not in parameters and "defaultValue" not in about and not about.get("isOptional"):
            raise Refusal(400, f"parameter {key} is not optional, yet has neither default value nor user provided value")
    for key in parameters:
        if key not in declared:
            raise Refusal(400, f"parameter {key} provided is not required by pipeline")
