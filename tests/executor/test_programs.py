"""A program of the local backend whose worker sleeps past its lease is ended by whoever comes by."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoscorer.executor.base import IsAlive, RunOutcome, StopReason
from autoscorer.executor.local_executor import LocalExecutor
from autoscorer.executor.ownership import Owner
from autoscorer.executor.programs import Programs
from tests.executor.attempts import make_plan, python
from tests.worker.sites import until

LEASE = "task/1/w1"


@contextmanager
def asleep(root: Path) -> Iterator[list[RunOutcome]]:
    """A program under a lease whose worker does not look after it; its outcome when it has ended."""
    plan = dataclasses.replace(make_plan(root, python("import time; time.sleep(60)")), lease=LEASE)
    outcomes: list[RunOutcome] = []
    given_up = threading.Event()

    def stop() -> StopReason | None:
        return StopReason.CANCELLED if given_up.is_set() else None

    def work() -> None:
        executor = LocalExecutor("trusted", Programs(root / "data"))
        outcomes.append(executor.run(plan, stop=stop, on_event=lambda *_: None))

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: list((root / "data" / "programs").glob("*.json")))
    try:
        yield outcomes
    finally:
        given_up.set()
        thread.join(60)
        assert not thread.is_alive()
        assert list((root / "data" / "programs").iterdir()) == []


def reap(root: Path, is_alive: IsAlive) -> list[str]:
    executor = LocalExecutor("trusted", Programs(root / "data"))
    return [reaped.kind for reaped in executor.reap(is_alive)]


def test_it_is_ended_when_the_lease_is_gone(tmp_path: Path) -> None:
    with asleep(tmp_path) as outcomes:
        assert reap(tmp_path, lambda owner: owner.lease != LEASE) == ["program"]
        until(lambda: outcomes)
        assert outcomes[0].stopped is None, "not by its own worker"


def test_control_while_the_lease_holds_it_runs_on(tmp_path: Path) -> None:
    with asleep(tmp_path) as outcomes:
        assert reap(tmp_path, lambda owner: owner.lease == LEASE) == []
        assert outcomes == []


def test_a_process_that_got_the_same_number_later_is_not_touched(tmp_path: Path) -> None:
    programs, here = Programs(tmp_path), Owner.this_process(LEASE)
    earlier = dataclasses.replace(here, started_ticks=here.started_ticks - 1, lease="")
    noted = programs.note(here.pid, here)
    assert noted is not None
    noted.write_text(noted.read_text().replace(f'/{here.started_ticks}"', f'/{earlier.started_ticks}"', 1))
    assert list(programs.end(lambda _: False)) == []
    assert not noted.exists()


def test_a_note_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "1.json").write_text("")
    assert list(Programs(tmp_path).end(lambda _: False)) == []
    assert (tmp_path / "programs" / "1.json").exists()
