"""The commands that look: runs, show, logs, check, compile, backends, status, resources."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from flowbridge.client.where import FIELDS
from flowbridge.ir.features import Feature

TASK_FIELDS = ["step", "index", "attempt", "status", "started", "finished", "duration", "metrics", "peak_memory", "reason"]


class TestRuns:
    def test_table(self, ran):
        head, newest, oldest = ran("runs").stdout.splitlines()
        assert head.split()[:4] == ["ID", "FLOW", "STATUS", "BACKEND"]
        assert newest.split()[1:4] == ["doubling", "failed", "local"]
        assert oldest.split()[1:4] == ["doubling", "done", "local"]

    def test_json(self, ran):
        rows = json.loads(ran("runs", "--json").stdout)
        assert [tuple(row) for row in rows] == [FIELDS, FIELDS]
        assert [row["status"] for row in rows] == ["failed", "done"]
        assert rows[0]["tags"] == ["mine", "unlucky"]

    @pytest.mark.parametrize(
        ("words", "count"),
        [
            (["--status", "done"], 1),
            (["--flow", "doubling"], 2),
            (["--flow", "none"], 0),
            (["--where", "params.start > 5"], 1),
            (["--where", "'unlucky' in tags and status == 'failed'"], 1),
            (["--limit", "1"], 1),
        ],
    )
    def test_filters(self, ran, words, count):
        assert len(json.loads(ran("runs", "--json", *words).stdout)) == count

    def test_order(self, ran):
        rows = json.loads(ran("runs", "--json", "--sort", "params.start").stdout)
        assert [row["params"]["start"] for row in rows] == [0, 11]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--where", "param.x > 1"], "no field 'param'"),
            (["--where", "__import__('os')"], "is not understood"),
            (["--status", "fine"], "Unknown status 'fine'"),
            (["--sort", "metric.x"], "no field 'metric'"),
        ],
    )
    def test_refused(self, ran, words, message):
        assert message in ran("runs", *words, code=2).stderr

    def test_none_yet(self, flowbridge):
        assert f"No runs in the store {flowbridge.folder / '.flowbridge'} yet" in flowbridge("runs").stdout
        assert json.loads(flowbridge("runs", "--json").stdout) == []
        assert not flowbridge.written

    def test_none_match(self, ran):
        assert "No runs match" in ran("runs", "--flow", "none").stdout


JSON_FIELDS = (
    (Path(__file__).parents[3] / "docs/reference/cli.md").read_text(encoding="utf-8").partition("## JSON")[2].partition("\n## ")[0]
)


class TestShow:
    def test_a_run(self, ran):
        text = ran("show", "latest").stdout
        assert re.search(r"status +failed: double/2 failed: ValueError: thirteen is not doubled", text)
        assert re.search(r"Parameters\n  n +3\n", text)
        assert re.search(r"double/2 +failed +1 ", text)
        assert re.search(r"total +cancelled .*not run, because double", text)
        assert "flows.py" in text

    def test_figures_and_tables_are_named(self, ran):
        done = json.loads(ran("runs", "--json", "--status", "done").stdout)[0]["id"]
        assert f"flowbridge.get_run('{done}')['total'][0].load('names')" in ran("show", done).stdout

    def test_json_is_the_run_with_its_tasks(self, ran):
        run = json.loads(ran("show", "latest", "--json").stdout)
        assert list(run)[: len(FIELDS)] == list(FIELDS)
        assert [list(task) for task in run["tasks"]] == [TASK_FIELDS] * 5
        failed = next(task for task in run["tasks"] if task["status"] == "failed")
        assert (failed["step"], failed["index"], failed["attempt"], failed["reason"]["kind"]) == ("double", [2], 1, "error")

    def test_a_part_of_the_id_is_enough(self, ran):
        run = json.loads(ran("runs", "--json").stdout)[0]["id"]
        assert run in ran("show", run.rpartition("-")[2]).stdout

    def test_a_flow(self, flowbridge):
        assert "flowchart" in flowbridge("show", "flows.py").stdout
        graph = json.loads(flowbridge("show", "flows.py:doubling", "--json").stdout)
        assert [step["id"] for step in graph["steps"]] == ["numbers", "double", "total"]
        assert not flowbridge.written

    def test_a_picture(self, flowbridge):
        flowbridge("show", "flows.py", "--svg", "flow.svg")
        assert ET.parse(flowbridge.folder / "flow.svg").getroot().tag.endswith("svg")

    def test_what_is_not_there(self, ran):
        assert "no run" in ran("show", "nonsense", code=2).stderr
        assert "--svg draws a flow" in ran("show", "latest", "--svg", "x.svg", code=2).stderr


class TestLogs:
    def test_a_step(self, ran):
        done = json.loads(ran("runs", "--json", "--status", "done").stdout)[0]["id"]
        assert ran("logs", done, "numbers").stdout == "making 3\n"
        assert ran("logs", done, "double/1").stdout == "doubling 1\n"
        assert ran("logs", done, "double").stdout.count("--- double/") == 3
        assert ran("logs", done, "double/1", "--follow").stdout == "doubling 1\n"

    def test_attempts(self, ran):
        assert ran("logs", "latest", "double/2", "--attempt", "0").stdout.count("doubling 13") == 1
        assert "no attempt 5" in ran("logs", "latest", "double/2", "--attempt", "5", code=2).stderr
        assert "has 3 tasks; name one" in ran("logs", "latest", "double", "--attempt", "0", code=2).stderr

    def test_what_is_not_there(self, ran):
        assert "no step 'duble'" in ran("logs", "latest", "duble", code=2).stderr
        assert "index of a task is written" in ran("logs", "latest", "double/x", code=2).stderr
        assert "no task with the index [7]" in ran("logs", "latest", "double/7", code=2).stderr


class TestFlows:
    def test_check(self, flowbridge):
        assert "can run on 'local'" in flowbridge("check", "flows.py").stdout
        assert json.loads(flowbridge("check", "flows.py", "-b", "inline", "--json").stdout)["ok"] is True
        assert not flowbridge.written

    def test_check_refuses(self, flowbridge):
        assert "gang" in flowbridge("check", "many.py:first", "-b", "inline", code=2).stdout
        report = json.loads(flowbridge("check", "many.py:first", "-b", "inline", "--json", code=2).stdout)
        assert report["ok"] is False
        assert len(report["gaps"]) == 1

    def test_compile(self, flowbridge):
        assert json.loads(flowbridge("compile", "flows.py").stdout)["name"] == "doubling"
        assert "Wrote out.json" in flowbridge("compile", "flows.py", "-o", "out.json").stdout
        assert json.loads((flowbridge.folder / "out.json").read_text())["name"] == "doubling"
        assert "cannot be written" in flowbridge("compile", "flows.py", "-o", "/dev/null/x", code=2).stderr

    def test_compile_for_kubeflow(self, flowbridge):
        assert "deploymentSpec" in flowbridge("compile", "flows.py", "-b", "kubeflow").stdout


class TestMachine:
    def test_backends(self, flowbridge):
        rows = {row["name"]: row for row in json.loads(flowbridge("backends", "--json").stdout)}
        assert {"inline", "local", "kubeflow", "metaflow"} <= set(rows)
        local = rows["local"]
        assert local["native"] + local["emulated"] + local["unsupported"] == len(Feature)
        assert re.search(r"local +yes", flowbridge("backends").stdout)

    def test_one_backend(self, flowbridge):
        rows = json.loads(flowbridge("backends", "local", "--json").stdout)
        assert [row["feature"] for row in rows] == [f.value for f in Feature] or len(rows) == len(Feature)
        assert {row["support"] for row in rows} <= {"native", "emulated", "unsupported"}
        assert "Unknown backend 'locl'" in flowbridge("backends", "locl", code=2).stderr

    def test_status(self, flowbridge):
        told = json.loads(flowbridge("status", "--json").stdout)
        assert told["machine"]["cpu"] > 0
        assert told["tasks"] == []
        assert "Nothing runs." in flowbridge("status").stdout

    def test_resources(self, ran):
        (sizing,) = json.loads(ran("resources", "--json").stdout)
        assert (sizing["flow"], sizing["runs"]) == ("doubling", 2)
        assert [use["step"] for use in sizing["steps"]] == ["numbers", "double", "total"]
        text = ran("resources", "doubling").stdout
        assert re.search(r"double +7 +1Gi", text)
        assert re.search(r'(?m)^-@step\(memory="1Gi", retries=1\)\n\+@step\(memory="\d+Mi", retries=1\)', text)
        assert "no run of a flow 'doublng'" in ran("resources", "doublng", code=2).stderr


class TestCommand:
    def test_no_arguments(self, flowbridge):
        assert "Commands:" in flowbridge().stdout

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["rnu"], r"Unknown command 'rnu'.*'run'"),
            (["flows.py"], r"To run that flow: flowbridge run flows.py"),
            (["--nonsense"], r"No such option"),
            (["runs", "--nonsense"], r"No such option.*--nonsense"),
            (["logs", "latest"], r"Missing argument"),
        ],
    )
    def test_wrong_calls(self, flowbridge, words, message):
        done = flowbridge(*words, code=2)
        assert re.search(message, done.stderr, re.DOTALL), done.stderr
        assert done.stdout == ""

    def test_version(self, flowbridge):
        from flowbridge import __version__

        assert flowbridge("--version").stdout.strip() == __version__


class TestJson:
    """The fields that the docs tell."""

    COMMANDS = {"tag": ["tag", "latest"], "du": ["du"], "gc": ["gc", "--keep", "1"], "check": ["check", "flows.py"]}

    @pytest.mark.parametrize("command", sorted(COMMANDS))
    def test_fields(self, ran, command):
        line = next(line for line in JSON_FIELDS.splitlines() if line.startswith(f"| `{command}`"))
        told = re.sub(r"\(.*?\)", "", line.partition("` |")[2])
        assert sorted(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", told)))) == sorted(
            json.loads(ran(*self.COMMANDS[command], "--json").stdout)
        )

    def test_a_run(self, ran):
        line = next(line for line in JSON_FIELDS.splitlines() if line.startswith("| `show RUN`"))
        listed, run = (json.loads(ran(*words, "--json").stdout) for words in (["runs"], ["show", "latest"]))
        assert set(run) == {*listed[0], "url", "message", "tasks"}
        assert sorted(run["tasks"][0]) == sorted(re.findall(r"`([^`]*)`", line)[-1].split())
