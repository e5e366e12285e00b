"""`flowbridge run`: parameters, what is printed, exit codes, and what nothing may be written for."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

ID = r"\d{8}-\d{6}-\w{6}"


class TestDone:
    def test_id_first_what_to_type_last(self, flowbridge):
        lines = flowbridge("run", "flows.py").stdout.splitlines()
        run = re.fullmatch(rf"Run ({ID}) of doubling on local, store .*", lines[0])[1]
        assert lines[-2:] == [f"  flowbridge show {run}", f"  flowbridge logs {run} total"]
        assert "Result: 6" in lines
        assert any(re.match(r"Done in .*: 5 done", line) for line in lines)
        assert any(line.startswith("Metrics: ") and "total=6" in line for line in lines)

    def test_lines_tell_each_step(self, flowbridge):
        text = flowbridge("run", "flows.py").stdout
        assert re.search(r"numbers done in", text)
        assert re.search(r"double started \(3 tasks\)", text)
        assert re.search(r"double over: 3 done", text)
        assert "\x1b" not in text

    def test_json(self, flowbridge):
        run = json.loads(flowbridge("run", "flows.py", "--json").stdout)
        assert (run["status"], run["flow"], run["metrics"]["total"]) == ("done", "doubling", 6)
        assert len(run["tasks"]) == 5

    def test_quiet(self, flowbridge):
        text = flowbridge("run", "flows.py", "-q").stdout
        assert "started" not in text
        assert "Result: 6" in text

    def test_inline_shows_what_steps_print(self, flowbridge):
        assert "making 3" in flowbridge("run", "flows.py", "--backend", "inline").stdout

    def test_json_is_not_mixed_with_what_steps_print(self, flowbridge):
        done = flowbridge("run", "flows.py", "--json", "--backend", "inline")
        assert json.loads(done.stdout)["status"] == "done"
        assert "making 3" in done.stderr

    def test_a_module_instead_of_a_file(self, flowbridge):
        assert "Result: 6" in flowbridge("run", "flows:doubling").stdout


class TestParameters:
    @pytest.mark.parametrize(
        ("words", "params"),
        [
            (["--n", "2"], {"n": 2}),
            (["--n=2", "--lr=-0.5"], {"n": 2, "lr": -0.5}),
            (["--start", "-4"], {"start": -4}),
            (["--names", "a,b"], {"names": ["a", "b"]}),
            (["--names", "a", "--names", "b c"], {"names": ["a", "b c"]}),
            (["--names", '["x, y"]'], {"names": ["x, y"]}),
            (["--names", ""], {"names": []}),
            (["--loud"], {"loud": True}),
            (["--loud", "false"], {"loud": False}),
            (["--no-loud"], {"loud": False}),
            (["--store-name", "x"], {"store_name": "x"}),
            (["--store_name", "x"], {"store_name": "x"}),
            (["-P", "n=4", "--param", "lr=2"], {"n": 4, "lr": 2.0}),
        ],
    )
    def test_forms(self, flowbridge, monkeypatch, capsys, words, params):
        code, out, _ = flowbridge.here(monkeypatch, capsys, "run", "flows.py", "--json", "-b", "inline", *words)
        run = json.loads(out)
        assert code == 0
        assert {name: run["params"][name] for name in params} == params

    def test_options_may_stand_anywhere(self, flowbridge):
        run = json.loads(flowbridge("run", "--backend", "inline", "flows.py", "--n", "1", "--json", "--tag", "a").stdout)
        assert run["params"]["n"] == 1
        assert run["tags"] == ["mine", "a"]

    def test_help_shows_the_flows_own(self, flowbridge):
        text = flowbridge("run", "flows.py", "--help").stdout
        assert "Double some numbers." in text
        assert re.search(r"--names +list\[str\] +default: \['a'\]", text)
        assert re.search(r"--loud / --no-loud +bool +default: False", text)
        assert not flowbridge.written

    def test_help_without_a_flow(self, flowbridge):
        assert "--backend" in flowbridge("run", "--help").stdout


class TestRefused:
    """Exit code 2, one message, and nothing written."""

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["flows.py", "--lr", "abc"], r"parameter lr: .*float.*'abc'"),
            (["flows.py", "--nn", "3"], r"Unknown option --nn. Did you mean '--n'.*The flow takes: --n, --start"),
            (["flows.py", "--bakend", "inline"], r"Unknown option --bakend. Did you mean '--backend'"),
            (["flows.py", "extra"], r"Unexpected argument 'extra'"),
            (["flows.py", "--n"], r"--n needs a value"),
            (["flows.py", "--n", "1", "--n", "2"], r"--n is given 2 times"),
            (["flows.py", "-P", "n"], r"write it as NAME=VALUE"),
            (["flows.py:doublng"], r"no flow 'doublng'.*'doubling'"),
            (["flow.py"], r"no file flow.py.*'flows.py'"),
            (["many.py"], r"defines 2 flows; say which"),
            (["flows.py", "--backend", "inlien"], r"Unknown backend 'inlien'.*'inline'"),
            (["flows.py", "--profile", "x"], r"Unknown profile 'x'"),
            (["flows.py", "--on-failure", "stopp"], r"'stop'\?"),
            (["flows.py", "--max-parallel", "0"], r"Invalid value for .?.?--max-parallel"),
            (["broken.py:branching"], r"Flow 'branching' cannot be built"),
            (["broken.py:raising", "--n", "1"], r"broken.py\", line 16.*KeyError: 'key'"),
            (["many.py:first", "--n", "1", "--backend", "inline"], r"gang"),
            ([], r"Missing argument"),
        ],
    )
    def test_wrong_calls(self, flowbridge, monkeypatch, capsys, words, message):
        code, out, err = flowbridge.here(monkeypatch, capsys, "run", *words)
        assert re.search(message, err, re.DOTALL), err
        assert (code, out) == (2, "")
        assert not flowbridge.written

    def test_one_in_a_process_of_its_own(self, flowbridge):
        done = flowbridge("run", "flows.py", "--lr", "abc", code=2)
        assert done.stderr.startswith("Error: Flow 'doubling': parameter lr")
        assert done.stdout == ""
        assert not flowbridge.written

    def test_an_unwritable_store(self, flowbridge):
        done = flowbridge("run", "flows.py", "--store", "/dev/null/x", code=2)
        assert "/dev/null/x" in done.stderr
        assert done.stdout == ""

    def test_a_missing_extra(self, flowbridge):
        """As on a machine where kfp is not installed."""
        (flowbridge.folder / "hide" / "kfp").mkdir(parents=True)
        (flowbridge.folder / "sitecustomize.py").write_text(
            "import importlib.util, sys\nfound = importlib.util.find_spec\n"
            "importlib.util.find_spec = lambda name, *a: None if name == 'kfp' else found(name, *a)\n"
        )
        done = flowbridge("run", "flows.py", "--backend", "kubeflow", code=2, PYTHONPATH=str(flowbridge.folder))
        assert "pip install 'flowbridge[kubeflow]'" in done.stderr
        assert not flowbridge.written

    def test_debug_shows_where(self, flowbridge):
        assert "Traceback" in flowbridge("run", "flows.py", "--lr", "abc", "--debug", code=1).stderr

    def test_an_unknown_key_in_the_configuration(self, flowbridge):
        (flowbridge.folder / "flowbridge.toml").write_text('[profiles.a]\nbackned = "x"\n')
        assert "'backned'" in flowbridge("run", "flows.py", code=2).stderr


class TestFailed:
    def test_the_users_own_line_first(self, flowbridge):
        done = flowbridge("run", "flows.py", "--start", "12", code=1)
        first, *rest = [line for line in done.stderr.splitlines() if line]
        path = re.escape(str(flowbridge.folder / "flows.py"))
        assert re.match(rf"{path}:\d+: Step double, index 1, attempt 2 failed: ValueError: thirteen is not doubled", first)
        shown = "\n".join(rest)
        assert 'raise ValueError("thirteen is not doubled")' in shown
        assert "site-packages" not in shown
        assert "/src/flowbridge/" not in shown
        run = re.search(ID, done.stdout)[0]
        assert f"flowbridge logs {run} double/1" in done.stdout

    def test_the_record_and_the_log_hold_it_too(self, ran):
        assert "thirteen is not doubled" in ran("show", "latest").stdout
        assert "thirteen is not doubled" in ran("logs", "latest", "double/2").stdout

    def test_stopping_at_the_first_failure(self, flowbridge):
        done = flowbridge("run", "flows.py", "--start", "13", "--n", "1", "--on-failure", "stop", code=1)
        assert "cancelled" in done.stdout


SLOW = """
import time
from flowbridge import flow, step

@step
def wait(seconds: float) -> float:
    print("waiting", flush=True)
    time.sleep(seconds)
    return seconds

@flow
def waiting(seconds: float = 60) -> float:
    return wait(seconds)
"""


def test_ctrl_c_stops_the_run_and_its_tasks(flowbridge):
    (flowbridge.folder / "slow.py").write_text(SLOW)
    command = [sys.executable, "-m", "flowbridge", "run", "slow.py"]
    process = subprocess.Popen(
        command, cwd=flowbridge.folder, env=flowbridge.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    seen = []
    for line in process.stdout:
        seen.append(line)
        if "wait started" in line:
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 1, "".join(seen) + rest
    assert "Cancelled in" in rest
    (run,) = json.loads(flowbridge("runs", "--json").stdout)
    assert run["status"] == "cancelled"


def test_a_terminal_shows_a_table_that_moves(flowbridge):
    """In a pseudo-terminal: steps with their state, drawn again and again."""
    main, other = pty.openpty()
    env = {**flowbridge.env, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    env.pop("NO_COLOR")
    command = [sys.executable, "-m", "flowbridge", "run", "flows.py", "--n", "5"]
    process = subprocess.Popen(command, cwd=flowbridge.folder, env=env, stdin=other, stdout=other, stderr=other)
    os.close(other)
    shown = b""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if not select.select([main], [], [], 1.0)[0]:
            if process.poll() is not None:
                break
            continue
        try:
            piece = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    assert process.wait(timeout=30) == 0
    os.close(main)
    text = shown.decode()
    assert "\x1b[" in text
    assert re.search(r"━+.* 5/5", text)
    assert "7 tasks over, 0 running" in text
    assert "Result: 20" in text


PROGRAMS = """
from pathlib import Path
from flowbridge import container_step, flow

resize = container_step(image="busybox", command=["true", "{outputs.done}"], outputs={"done": Path}, name="resize")

@flow
def pictures() -> Path:
    return resize()
"""


@pytest.mark.parametrize("verb", ["run", "check"])
def test_programs_that_nothing_here_can_start_are_noticed_before(flowbridge, verb):
    (flowbridge.folder / "programs.py").write_text(PROGRAMS)
    done = flowbridge(verb, "programs.py", code=2, PATH=str(flowbridge.folder))
    told = done.stdout + done.stderr
    assert "resize" in told
    assert "podman or docker" in told
    assert not flowbridge.written
