"""A format that a notebook or script registers for its own class holds in the tasks too, and when the run is looked at elsewhere."""

import subprocess
import sys

import pytest

from tests.examples.test_pages import MODEL

SCRIPT = """
import fractions
from flowbridge import flow, register_serializer, step

{model}
{before}
register_serializer(Model, save=lambda model, file: model.write(file), load=Model.read)
register_serializer(fractions.Fraction, save=lambda n, file: file.write(str(n).encode()), load=lambda file: fractions.Fraction(file.read().decode()), name="fraction")

@step
def make() -> Model:
    return Model(b"w" * {size})

@step
def half(model: Model) -> fractions.Fraction:
    return fractions.Fraction(len(model.weights), 2)

@flow
def making() -> fractions.Fraction:
    return half(make())

if __name__ == "__main__":
    run = making.run()
    print(run.status, run.result(), type(run["make"][0].load()) is Model)
    for task in run.tasks:
        print(task.step, task.outputs["result"].serializer)
"""
LOOK = """
import flowbridge
run = flowbridge.get_run("latest")
print(run.result(), type(run["make"][0].load()).__name__, len(run["make"][0].load().weights))
"""
FROM_ANEW = """
import flowbridge
run = flowbridge.get_run("latest")
old = type(run["make"][0].load())
class Model:
    read = classmethod(lambda cls, file: cls())
flowbridge.register_serializer(Model, save=print, load=Model.read)
print(type(run["make"][0].load()) is Model, old is Model)
"""


@pytest.fixture
def python(store, tmp_path):
    def call(*arguments, code=0):
        done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return call


@pytest.mark.parametrize("size", [10, 10_000])
def test_it_holds_in_tasks_and_elsewhere(python, tmp_path, size):
    (tmp_path / "script.py").write_text(SCRIPT.format(model=MODEL, size=size, before=""))
    assert python("script.py").splitlines() == [f"done {size // 2} True", "make __main__.Model", "half fraction"]
    assert python("-c", LOOK) == f"{size // 2} Model {size}\n"
    assert python("-c", FROM_ANEW) == "True False\n"


def test_one_that_cannot_travel_is_refused_before_anything_runs(python, tmp_path):
    before = "import threading; lock = threading.Lock(); Model.write = lambda self, file: lock.acquire()"
    (tmp_path / "script.py").write_text(SCRIPT.format(model=MODEL, size=10, before=before))
    said = python("script.py", code=1)
    assert "lock" in said
    assert not (tmp_path / "store").exists()
    (tmp_path / "script.py").write_text(
        SCRIPT.format(model=MODEL, size=10, before="").replace(
            "load=lambda file:", "load=lambda file, lock=__import__('threading').Lock():"
        )
    )
    said = python("script.py", code=1)
    assert "the format of Model, Fraction is registered in a notebook or script" in said
    assert "Make that object inside of save and load" in said
