"""The conformance suite: every case on one backend, and what the backend's own table says it cannot do is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from flowbridge.backends.registry import get_backend
from flowbridge.backends.support import table_gaps
from flowbridge.errors import UnsupportedError
from flowbridge.testing import random_flows
from flowbridge.testing.case import MISSING, Case
from flowbridge.testing.cases import all_cases


class BackendSuite:
    """Put a backend through every case. A subclass named ``Test...`` in a test file is all it takes.

    Attributes:
        backend: Name of the backend.
        settings: Environment variables of the runs, such as ``{"FLOWBRIDGE_KUBEFLOW__HOST": "local"}``.
        random_seeds: Seeds of the flows made by chance.
        unlike: Cases that this backend cannot tell apart from others by its nature, with the reason; they are not run.
    """

    backend: ClassVar[str]
    settings: ClassVar[Mapping[str, str]] = {}
    random_seeds: ClassVar[range] = range(3)
    unlike: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        """A fresh store, as a URL; and an account of the machine's resources that no other run takes part in."""
        account = tmp_path / "account"
        account.mkdir()
        monkeypatch.setenv("FLOWBRIDGE_ACCOUNT_DIR", str(account))
        for name, value in self.settings.items():
            monkeypatch.setenv(name, value)
        return str(tmp_path / "store")

    @pytest.mark.parametrize("case", all_cases(), ids=lambda c: c.name.replace(" ", "-"))
    def test_case(self, case: Case, store: str) -> None:
        """The case has its one meaning here, or is refused by the table before anything is written."""
        if case.name in self.unlike:
            pytest.skip(self.unlike[case.name])
        flow = case.flow.options(backend=self.backend, store=store, **case.options)
        refused = table_gaps(case.flow.graph().graph, get_backend(self.backend).support)
        if refused:
            with pytest.raises(UnsupportedError) as caught:
                flow.run(**case.args)
            assert set(refused) <= set(caught.value.gaps)
            assert not Path(store).exists()
            return
        run = flow.run(**case.args)
        check(case, run)

    def test_random_flow(self, store: str, random_seed: int) -> None:
        """A flow made by chance gives what a plain reading of its statements gives."""
        program = random_flows.make(random_seed)
        flow = random_flows.as_flow(program).options(backend=self.backend, store=store)
        run = flow.run(n=random_seed % 10)
        assert run.result() == random_flows.read(program, random_seed % 10)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each suite its own seeds; imported by the `conftest.py` of whoever uses the suite."""
    if "random_seed" in metafunc.fixturenames and metafunc.cls is not None:
        metafunc.parametrize("random_seed", metafunc.cls.random_seeds)


def check(case: Case, run: Any) -> None:
    """Assert everything that a case says of a finished run."""
    told = {name: states_of(run, name) for name in case.states}
    assert run.status == case.status, f"the run ended {run.status}; {told}; {describe(run)}"
    if case.result is not MISSING:
        result = run.result()
        assert result == case.result
        assert type(result) is type(case.result)
    for name, wanted in case.states.items():
        counts = {wanted: 1} if isinstance(wanted, str) else dict(wanted)
        assert told[name] == counts, f"{name}: {told[name]}"
    for name, kind in case.reasons.items():
        reason = run[name][0].record.reason
        assert reason is not None, f"{name} tells no reason"
        assert reason.kind == kind, reason
    for name, count in case.attempts.items():
        assert run[name][0].record.attempt + 1 == count, run[name][0].record
    if case.check is not None:
        case.check(run)


def states_of(run: Any, name: str) -> dict[str, int]:
    """Return how many tasks of a step ended in each state."""
    return dict(Counter(task.state for task in run[name]))


def describe(run: Any) -> str:
    """Return the reasons of all tasks that failed, for the message of an assertion."""
    failed = [t for t in run.tasks if t.state == "failed"]
    return "; ".join(f"{t.step}{list(t.index)}: {t.record.reason}" for t in failed)
