"""Every fault of a scorer gets its verdict, blames the organiser, leaves nothing; its control proves it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.child import nursery
from autoscorer.scorers.child.host import ChildHost
from autoscorer.utils.errors import AutoscorerError
from tests.attacks.record import Record
from tests.scorers.child import faults, odd, spies
from tests.scorers.child.faults import Fault
from tests.scorers.child.test_lifetimes import wait_for, zygote_of
from tests.scorers.child.test_waiting_keepers import blind
from tests.scorers.child.traces import left_since, traces
from tests.scorers.child.unguarded import outcome_of

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]
GROUPS = {
    "Scorers: endings": faults.ENDINGS,
    "Scorers: memory and disk": faults.MEMORY,
    "Scorers: streams and descriptors": faults.STREAMS,
    "Scorers: patches of the platform": faults.PATCHES,
    "Scorers: processes and threads": faults.PROCESSES,
    "Scorers: results": faults.RESULTS,
    "Scorers: files, network and secrets": spies.SPYING,
    "Scorers: forged answers": spies.FORGING,
}
each_fault = pytest.mark.parametrize(
    ("group", "fault"),
    [pytest.param(group, fault, id=fault.name) for group, faults_ in GROUPS.items() for fault in faults_],
)
each_control = pytest.mark.parametrize(
    ("group", "fault"),
    [
        pytest.param(group, fault, id=fault.name)
        for group, faults_ in GROUPS.items()
        for fault in faults_
        if fault.harm is not None
    ],
)


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Record:
    return Record(record_property)


@dataclass(frozen=True)
class Surroundings:
    """What there is to spy on."""

    secret: Path
    other: Path
    port: int
    path: Path

    def fill_in(self, body: str) -> str:
        told = {"SECRET": self.secret, "OTHER": self.other, "PORT": self.port, "SOCKET": self.path}
        for name, value in told.items():
            body = body.replace(f"{{{name}}}", str(value))
        return body


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Surroundings]:
    """Listeners, files and a variable of the platform's."""
    monkeypatch.setenv("CELERY_BROKER", "redis://:hunter2@broker")
    secret, other = tmp_path / "secret", tmp_path / "other" / "gt.csv"
    secret.write_text("hunter2")
    other.parent.mkdir()
    other.write_text("id,label\n")
    path = Path("/tmp", f"autoscorer_test_{id(secret)}.sock")
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as named:
        port = listener.getsockname()[1]
        named.bind(str(path))
        named.listen()
        with socket.socket(socket.AF_UNIX) as abstract:
            abstract.bind(f"\0autoscorer-test-{port}")
            abstract.listen()
            yield Surroundings(secret, other, port, path)
    path.unlink()


@each_fault
def test_a_fault_of_a_scorer_is_contained(
    surroundings: Surroundings,
    record: Record,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    group: str,
    fault: Fault,
) -> None:
    record.tried(group, fault.name, expected=fault.expected, blame="organiser")
    monkeypatch.setattr(nursery, "_command", blind)  # other tests mount something all the time
    host = ChildHost(odd.settings(**fault.settings))
    host._nursery._waiting = 1  # as in the service: its process was there before
    follow_up = Catalog().find("classification_accuracy")
    view, nothing = odd.view(tmp_path / "next"), traces()
    assert host.score(follow_up, view, {}).result.metrics["accuracy"] == 0.5
    wait_for(lambda: waits(host))
    view_before, before = snapshot(tmp_path / "attacked"), traces()
    error, won = None, None
    try:
        scoring = odd.score(host, tmp_path / "attacked", surroundings.fill_in(fault.body))
        won = scoring.result.metrics.get("won")
    except AutoscorerError as exc:
        error = exc
    left = left_since(before, waiting=lambda: waiting(host))
    record.left(left)
    assert left == []
    assert (error.code if error else None) in fault.expected, error and (error.message, error.details)
    assert error is None or (error.blame == "organiser" and len(str(error.to_dict())) < 40_000)
    assert fault.says in (error.message if error else "")
    assert won in (None, 0.0)
    assert snapshot(tmp_path / "attacked") == view_before
    assert host.score(follow_up, view, {}).result.metrics["accuracy"] == 0.5
    host.close()
    assert left_since(nothing) == []
    record.contained()


def waiting(host: ChildHost) -> frozenset[int]:
    """The keeper that waits and what it has forked; empty while any other is there.

    A process of a score that was left would hold its cgroup too.
    """
    if host.zygote_pid is None:
        return frozenset()
    zygote = zygote_of(host)
    family = zygote.children(recursive=True) if zygote else []
    return frozenset(process.pid for process in family) if len(family) == 2 else frozenset()


def waits(host: ChildHost) -> bool:
    return bool(waiting(host))


def snapshot(folder: Path) -> dict[str, bytes]:
    """What a scorer must not change: laid out at the first call."""
    view = folder / "view"
    root = view if view.exists() else odd.view(folder)
    return {
        path.name: path.read_bytes()
        for name in ("reference", "output")
        for path in (root / name).glob("*.csv")
    }


@each_control
def test_control_without_walls_the_fault_does_harm(
    surroundings: Surroundings, record: Record, tmp_path: Path, group: str, fault: Fault
) -> None:
    record.control(group, fault.name)
    assert fault.harm is not None
    outcome = outcome_of(surroundings.fill_in(fault.body), tmp_path)
    assert fault.harm(outcome), outcome
    record.worked()
