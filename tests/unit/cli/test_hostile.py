"""Stores whose owner means ill, or that somebody else put files into, looked at and cleaned by the command."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest

from flowbridge import each, flow, step
from flowbridge.artifacts import layout
from flowbridge.cli.main import call
from flowbridge.cli.printing import print_output
from flowbridge.records.envelope import seal_body

STEERING = "\x1b]52;c;ZXZpbA==\x07\x9b2J\u202e\u2028\x7f"


@step
def numbers(n: int) -> list[int]:
    return list(range(n))


@step
def twice(x: int) -> int:
    return 2 * x


@flow
def doubling(n: int = 3) -> list[int]:
    return twice.map(each(numbers(n)))


class Looked:
    """A store with a run that is done, and the command to look at it with."""

    def __init__(self, folder, capsys):
        self.run = doubling.options(backend="inline").run()
        self.id = self.run.id
        self.store = folder / "store"
        self.folder = self.store / layout.run_dir("doubling", self.id)
        self._capsys = capsys
        capsys.readouterr()

    def __call__(self, *words):
        code = call([*words])
        printed = self._capsys.readouterr()
        assert "Error inside flowbridge" not in printed.err
        assert code == (2 if printed.err else 0)
        return code, printed.out, printed.err

    def everything(self):
        """Run every command that looks; return code and error of each."""
        words = (["runs"], ["show", self.id], ["show", self.id, "--json"], ["logs", self.id, "twice"], ["du"], ["gc"], ["resources"])
        return [(code, err) for code, _, err in (self(*w) for w in words)]

    def read(self, kind):
        return json.loads((self.folder / f"{kind}.json").read_bytes())["record"]

    def write(self, kind, text=None, **fields):
        body = json.dumps({**self.read(kind), **fields}) if text is None else text
        (self.folder / f"{kind}.json").write_bytes(seal_body(body.encode()))

    def unended(self):
        for kind in ("end", "summary"):
            (self.folder / f"{kind}.json").unlink()


@pytest.fixture
def looked(tmp_path, monkeypatch, capsys):
    for name, value in {"XDG_CONFIG_HOME": "no-config", "FLOWBRIDGE_ACCOUNT_DIR": "account", "FLOWBRIDGE_STORE": "store"}.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.setenv("FLOWBRIDGE_TRUST", "false")
    monkeypatch.chdir(tmp_path)
    return Looked(tmp_path, capsys)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("run", {"created": 1e300}),
        ("run", {"created": -1e300}),
        ("run", {"created": float("inf")}),
        ("end", {"finished": 1e300}),
        ("end", {"finished": "NaN"}),
    ],
)
def test_times_of_no_calendar_are_an_error_that_names_the_file(looked, kind, fields):
    looked.write(kind, json.dumps({**looked.read(kind), **fields}).replace("Infinity", "1e999"))
    for code, error in looked.everything()[:3]:
        assert code == 2
        assert f"{looked.id}/{kind}.json" in error


@pytest.mark.parametrize(
    "fields", [{"index": [10**400]}, {"attempt": -1}, {"usage": {"peak_memory": 10**4000}}, {"started": "-Infinity"}, {"count": 10**15}]
)
def test_numbers_of_no_task_are_an_error_that_names_the_file(looked, fields):
    tasks = [{**task, **fields} for task in looked.read("summary")["tasks"]]
    looked.write("summary", tasks=tasks)
    code, _, error = looked("show", looked.id)
    assert code == 2
    assert f"{looked.id}/summary.json" in error


def test_times_that_never_end_are_shown_as_none(looked):
    usage = {"wall_time": "Infinity", "cpu_time": "NaN"}
    looked.write("summary", tasks=[{**task, "usage": usage} for task in looked.read("summary")["tasks"]])
    assert looked.everything() == [(0, "")] * 7


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("text", ["{}", "[5]", '{"name": 5}'])
def test_a_flow_that_is_none_is_an_error_that_names_the_run(looked, text, ended):
    graph = looked.run._source.session.store.save(text)
    looked.write("run", graph=graph.model_dump(mode="json", exclude_defaults=True))
    if not ended:
        looked.unended()
    looked.everything()
    code, _, error = looked("show", looked.id)
    assert code == 2
    assert f"The flow of run {looked.id} cannot be read" in error


def test_a_flow_of_steps_that_are_not_there_is_an_error_that_names_the_run(looked):
    graph = json.loads(looked.run.graph.model_dump_json(exclude_defaults=True))
    driver = {**looked.read("run")["driver"], "started": 5}  # a process that is gone: what is left of the run is gone through
    for place in ("sources", "scope"):
        broken = json.loads(json.dumps(graph))
        broken["maps"][0][place] = [["x", {"kind": "step", "output": "result", "step": "nobody"}]] if place == "sources" else ["nobody"]
        saved = looked.run._source.session.store.save(json.dumps(broken)).model_dump(mode="json", exclude_defaults=True)
        looked.write("run", graph=saved, driver=driver)
        if place == "sources":
            looked.unended()
        code, _, error = looked("show", looked.id)
        assert code == 2
        assert f"The flow of run {looked.id} cannot be read" in error
        assert "'nobody'" in error


@pytest.mark.parametrize("name", ["twice/0/.DS_Store", "twice/0/.nfs0001", "twice/0/0.end.json.bak", "twice/abc/0.end.json", "file"])
@pytest.mark.parametrize("ended", [True, False])
def test_strange_files_beside_records_are_passed_over(looked, name, ended):
    path = looked.folder / "tasks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("strange")
    if not ended:
        looked.unended()
    assert looked.everything() == [(0, "")] * 7


@pytest.mark.parametrize("bundle", ["blake3:../../../precious", "sha256:", ""])
def test_a_bundle_that_is_no_digest_is_an_error(looked, bundle):
    looked.write("run", bundle=bundle)
    code, _, error = looked("gc")
    assert code == 2
    assert repr(bundle) in error


@pytest.mark.parametrize("text", ['{"digest": 1, "size": "x", "serializer": 5}', "[" * 100_000, "{bad", "\ud800"])
def test_entries_of_the_cache_that_nobody_can_use_keep_nothing(looked, text):
    (looked.store / "cache").mkdir()
    (looked.store / "cache" / "entry.json").write_bytes(text.encode(errors="surrogatepass"))
    assert looked("gc")[0] == 0


@pytest.mark.parametrize(
    "more",
    [{"digest": "blake3:../../x"}, {"parts": "../../x"}, {"data": "eyJhIjo1fQ==", "serializer": "dataclass", "meta": [["fields", ["a"]]]}],
)
def test_entries_of_the_cache_of_which_nobody_knows_what_they_need_are_named(looked, more):
    (looked.store / "cache").mkdir()
    entry = {"digest": f"blake3:{'0' * 64}", "size": 7, "serializer": "bytes", **more}
    (looked.store / "cache" / "entry.json").write_text(json.dumps({"outputs": [entry]}))
    code, _, error = looked("gc")
    assert code == 2
    assert "cache/entry.json" in error


def test_nothing_steers_the_terminal(looked):
    looked.write("run", params={STEERING: STEERING}, tags=[STEERING], user=STEERING, host=STEERING)
    looked.write("end", metrics={STEERING: 1.0}, message=STEERING)
    task = looked.read("summary")["tasks"][0]
    task |= {"state": "failed", "reason": {"kind": "error", "message": STEERING, "traceback": STEERING}, "why": STEERING}
    looked.write("summary", tasks=[task])
    native = json.dumps({"backend": "inline", "id": "x", "url": STEERING})
    (looked.folder / "native.json").write_bytes(seal_body(native.encode()))
    (looked.folder.parent / STEERING.replace("/", "")).mkdir()
    for words in (["runs"], ["show", looked.id], ["show", looked.id, "--json"], ["tag", looked.id, "more"], ["logs", looked.id, STEERING]):
        _, printed, error = looked(*words)
        assert not set(printed + error) & set(STEERING.replace(";", "")) - set("]52cZXZpbA=J")
    assert "\\x1b]52;c;ZXZpbA==\\x07\\x9b2J\\u202e\\u2028\\x7f" in looked("show", looked.id)[1]
    assert json.loads(looked("show", looked.id, "--json")[1])["message"] == STEERING


def test_logs_change_colours_on_a_terminal_and_nothing_else(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    text = "\x1b[1;31mred\x1b[0m 10%\r20%\x1b[K\tä\n"
    for screen, shown in (
        (Terminal(), "\\x1b]52;c;ZXZpbA==\\x07\\x9b2J\\u202e\\u2028\\x7f\\x1b[2J"),
        (io.StringIO(), STEERING + "\x1b[2J"),
    ):
        monkeypatch.setattr(sys, "stdout", screen)
        print_output(f"{text}{STEERING}\x1b[2J")
        assert screen.getvalue() == text + shown


# --- links ------------------------------------------------------------------------------------------------------------------------


def elsewhere(folder, age=10**9):
    """Return a folder outside the store, with old files."""
    (folder / "elsewhere" / "ab").mkdir(parents=True)
    for name in ("precious", ".tmp-1", f"ab/{'ab' * 32}"):
        (folder / "elsewhere" / name).write_text("precious")
        os.utime(folder / "elsewhere" / name, (age, age))
    return folder / "elsewhere"


@pytest.mark.parametrize("place", ["bundles", "blobs/zz", "environments", "cache", "runs/doubling/zz", "runs/other", "zz"])
def test_nothing_is_removed_behind_a_link(looked, tmp_path, place):
    target = elsewhere(tmp_path)
    for name in ("run", "end", "summary"):
        (target / f"{name}.json").write_bytes((looked.folder / f"{name}.json").read_bytes())
    before = sorted(target.rglob("*"))
    path = looked.store / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.rename(tmp_path / "away")
    path.symlink_to(target)
    code, _, error = looked("gc", "--keep", "0", "--yes")
    assert (code == 2) == (place in {"bundles", "environments", "cache"})
    assert code == 0 or f"{place} in the store {looked.store} is a link" in error
    assert sorted(target.rglob("*")) == before


@pytest.mark.parametrize("file", [True, False])
def test_nothing_is_shown_behind_a_link(looked, tmp_path, file):
    target = elsewhere(tmp_path)
    logs = looked.store / layout.log_dir("doubling", looked.id, "numbers", ()).rstrip("/")
    logs.parent.mkdir(parents=True, exist_ok=True)
    if file:
        logs.mkdir(exist_ok=True)
        (logs / "0.000000.log").unlink(missing_ok=True)
        (logs / "0.000000.log").symlink_to(target / "precious")
    else:
        if logs.exists():
            logs.rename(tmp_path / "away")
        logs.symlink_to(target)
    code, printed, error = looked("logs", looked.id, "numbers")
    assert "precious" not in printed
    assert file or (code == 2 and "is a link" in error)
