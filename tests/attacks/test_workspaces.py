"""Jobs beside each other: ids that look alike, one workspace for two."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import docker.errors
import pytest

from tests.attacks.arena import Arena
from tests.attacks.case import BUSYBOX, Attack, Plain
from tests.attacks.leftovers import containers_of
from tests.attacks.record import Record
from tests.executor.attempts import eventually

pytestmark = [pytest.mark.slow, pytest.mark.docker]
GROUP = "Jobs beside each other"
PREFIX = "team-" + "x" * 60
IDS = [PREFIX, f"{PREFIX}-1", f"{PREFIX}-10", f"{PREFIX}-100"]


def says(text: str) -> Attack:
    return Attack(
        name="says",
        program=f"sleep 1; echo {text} > output/pred.csv",
        image=BUSYBOX,
        expected=(None,),
        control=Plain(),
    )


def test_jobs_whose_ids_share_a_prefix_do_not_meet(arena: Arena, record: Record) -> None:
    record.tried(GROUP, "job ids that share a prefix", expected=(None,))
    workspaces = [arena.workspace(says(name[-4:]), job_id=name) for name in IDS]
    with ThreadPoolExecutor() as pool:
        ran = list(pool.map(lambda root: arena.run(says(""), workspace=root), workspaces))
    assert [one.code for one in ran] == [None] * len(IDS)
    assert [(root / "output" / "pred.csv").read_text().strip() for root in workspaces] == [
        name[-4:] for name in IDS
    ]
    record.left([thing for one in ran for thing in one.left])
    assert not any(one.left for one in ran)
    record.contained()


def test_control_names_cut_short_would_meet(arena: Arena, record: Record) -> None:
    record.control(GROUP, "job ids that share a prefix")
    first = arena.engine.containers.create(BUSYBOX, "true", name=IDS[0][:63])
    try:
        with pytest.raises(docker.errors.APIError, match="Conflict"):
            arena.engine.containers.create(BUSYBOX, "true", name=IDS[1][:63])
    finally:
        first.remove(force=True)
    record.worked()


def test_the_second_job_on_a_workspace_is_told_that_it_is_busy(arena: Arena, record: Record) -> None:
    record.tried(GROUP, "two jobs at once on one workspace", expected=("WORKSPACE_BUSY",), blame="nobody")
    workspace = arena.workspace(says("first"), job_id="busy-1")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(arena.run, says("first"), workspace=workspace)
        assert eventually(lambda: bool(containers_of(arena.engine, "busy-1")), within_s=60)
        second = arena.run(says("second"), workspace=workspace)
        assert first.result().code is None
    assert second.code == "WORKSPACE_BUSY"
    assert second.error is not None
    assert second.error.blame == "nobody"
    assert (workspace / "output" / "pred.csv").read_text() == "first\n"
    record.left(first.result().left)
    assert first.result().left == []
    record.contained()


def test_control_two_jobs_on_two_workspaces_both_run(arena: Arena, record: Record) -> None:
    record.control(GROUP, "two jobs at once on one workspace")
    workspaces = [arena.workspace(says(name)) for name in ("first", "second")]
    with ThreadPoolExecutor() as pool:
        ran = list(pool.map(lambda root: arena.run(says(""), workspace=root), workspaces))
    assert [one.code for one in ran] == [None, None]
    record.worked()
