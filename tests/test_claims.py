"""The claim on a workspace: who holds it, who may take it over, and what one who was asleep can still do."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from autoscorer import claims
from autoscorer.claims import Claim, FencedError, claim, clear_attempt
from autoscorer.locking import Holder
from autoscorer.utils.errors import AutoscorerError
from autoscorer.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "ws" / "input").mkdir(parents=True)
    (tmp_path / "ws" / "output").mkdir()
    (tmp_path / "ws" / "output" / "pred.csv").write_text("former")
    return Workspace.open(tmp_path / "ws")


@pytest.fixture
def mounted(workspace: Workspace) -> Iterator[Workspace]:
    """A workspace whose `output/` is a mount of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    folder = workspace.root / "output"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    try:
        (folder / "pred.csv").write_text("former")
        yield workspace
    finally:
        subprocess.run(["umount", folder], check=True)


def over(*leases: str) -> Callable[[str], bool]:
    return lambda lease: lease in leases


def published(held: Claim, text: str) -> None:
    attempt = held.new_attempt()
    fresh = attempt.root / "fresh"
    fresh.mkdir()
    (fresh / "pred.csv").write_text(text)
    held.publish(attempt, fresh, held.workspace.root / "output")
    attempt.discard()


def output(workspace: Workspace) -> str:
    return (workspace.root / "output" / "pred.csv").read_text()


def test_a_workspace_under_a_lease_that_is_over_is_taken_over(workspace: Workspace) -> None:
    with claim(workspace, Holder(lease="a.1")), claim(workspace, Holder(lease="a.2", is_over=over("a.1"))):
        pass


@pytest.mark.parametrize("lease", ["a.1", ""])
def test_a_workspace_whose_holder_is_not_known_to_be_gone_is_busy(workspace: Workspace, lease: str) -> None:
    asked: list[None] = []

    def keep_waiting() -> bool:
        asked.append(None)
        return len(asked) < 3

    other = Holder(lease="b.1", is_over=over("x.1"), keep_waiting=keep_waiting)
    with claim(workspace, Holder(lease=lease)), pytest.raises(AutoscorerError) as caught:
        claim(workspace, other).__enter__()
    assert caught.value.code == "WORKSPACE_BUSY"
    assert len(asked) == 3, "it was waited for, and not for ever"


def test_one_who_waits_gets_the_workspace_when_it_is_free(workspace: Workspace) -> None:
    with ExitStack() as first:
        first.enter_context(claim(workspace))

        def keep_waiting() -> bool:
            first.close()
            return True

        with claim(workspace, Holder(keep_waiting=keep_waiting)):
            pass


Change = Callable[[Claim, Path], None]
CHANGES: dict[str, Change] = {
    "publishing an output": lambda held, fresh: held.publish(
        held.workspace.attempts()[0], fresh, held.workspace.root / "output"
    ),
    "writing the result": lambda held, _: held.write_json(held.workspace.root / "output" / "pred.csv", 1),
    "putting artifacts": lambda held, _: held.put(
        held.desk / "artifacts", held.workspace.root / "output" / "pred.csv"
    ),
    "removing artifacts": lambda held, _: held.remove(held.workspace.root / "output" / "pred.csv"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_that_wakes_after_the_takeover_changes_nothing(workspace: Workspace, change: str) -> None:
    """Its guard has let it pass before it fell asleep: what stops it then is that its desk is gone."""
    with claim(workspace, Holder(lease="a.1")) as asleep:
        fresh = asleep.new_attempt().root / "fresh"
        for folder in (fresh, asleep.desk / "artifacts"):
            folder.mkdir()
        with claim(workspace, Holder(lease="a.2", is_over=over("a.1"))) as second:
            published(second, "second")
            with pytest.raises(FencedError):
                CHANGES[change](asleep, fresh)
            assert output(workspace) == "second"


@pytest.mark.parametrize("change", CHANGES)
def test_control_with_its_desk_left_alone_it_would_change_the_output(
    workspace: Workspace, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoscorer.claims._sweep", lambda *_: None)
    with claim(workspace, Holder(lease="a.1")) as asleep:
        fresh = asleep.new_attempt().root / "fresh"
        for folder in (fresh, asleep.desk / "artifacts"):
            folder.mkdir()
        with claim(workspace, Holder(lease="a.2", is_over=over("a.1"))) as second:
            published(second, "second")
            CHANGES[change](asleep, fresh)
            target = workspace.root / "output" / "pred.csv"
            assert not target.is_file() or target.read_text() != "second"


def test_an_output_that_is_a_mount_is_replaced_and_the_former_kept(mounted: Workspace) -> None:
    (mounted.root / "output" / "link").symlink_to("pred.csv")
    with claim(mounted) as held:
        attempt = held.new_attempt()
        fresh = attempt.root / "fresh"
        (fresh / "folder").mkdir(parents=True)
        (fresh / "folder" / "pred.csv").write_text("new")
        held.publish(attempt, fresh, mounted.root / "output")
    left = {str(path.relative_to(mounted.root / "output")) for path in mounted.root.glob("output/**/*")}
    assert left == {"folder", "folder/pred.csv"}
    assert sorted(path.name for path in attempt.previous_output.iterdir()) == ["link", "pred.csv"]
    assert (attempt.previous_output / "pred.csv").read_text() == "former"


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("is_taken_over", [True, False])
def test_one_that_wakes_while_it_writes_to_a_mount_changes_nothing(
    mounted: Workspace, change: str, is_taken_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It falls asleep before it removes or has copied; control: not taken over, it changes the output."""
    with ExitStack() as second, claim(mounted, Holder(lease="a.1")) as asleep:
        fresh = asleep.new_attempt().root / "fresh"
        for folder in (fresh, asleep.desk / "artifacts"):
            folder.mkdir()

        def named(path: Path) -> Path:
            monkeypatch.setattr("autoscorer.claims._beside", beside)
            if is_taken_over:
                taker = Holder(lease="a.2", is_over=over("a.1"))
                published(second.enter_context(claim(mounted, taker)), "second")
            return beside(path)

        beside = claims._beside
        monkeypatch.setattr("autoscorer.claims._beside", named)
        if is_taken_over:
            with pytest.raises(FencedError):
                CHANGES[change](asleep, fresh)
            assert [path.name for path in (mounted.root / "output").iterdir()] == ["pred.csv"]
            assert output(mounted) == "second"
        else:
            CHANGES[change](asleep, fresh)
            target = mounted.root / "output" / "pred.csv"
            assert not target.is_file() or target.read_text() != "former"


def most_at_once(workspace: Workspace, *, patience_s: float) -> int:
    """Eight that take over at once: how many were seen inside together. Each waits a while for another."""
    inside, worst, ended = [0], [0], threading.Barrier(9)
    change = threading.Lock()
    met = threading.Event()

    def taker(number: int) -> None:
        holder = Holder(lease=f"b.{number}", is_over=over("a.1"), keep_waiting=lambda: True)
        with claim(workspace, holder):
            with change:
                inside[0] += 1
                worst[0] = max(worst[0], inside[0])
            if worst[0] > 1:
                met.set()
            met.wait(patience_s)
            with change:
                inside[0] -= 1
        ended.wait(60)

    with claim(workspace, Holder(lease="a.1")):
        threads = [threading.Thread(target=taker, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        ended.wait(60)
        for thread in threads:
            thread.join()
    return worst[0]


@pytest.mark.slow
def test_of_many_that_take_over_at_once_one_holds_the_workspace_at_a_time(workspace: Workspace) -> None:
    assert most_at_once(workspace, patience_s=0.05) == 1
    left = sorted(path.name for path in workspace.root.iterdir())
    assert left == [".attempts", ".autoscorer.lock", "input", "output"], "no lock file of a taker stays"


def test_control_without_the_lock_many_hold_it_at_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoscorer.locking._is_free", lambda _: True)
    assert most_at_once(workspace, patience_s=30) > 1


def test_what_a_dead_holder_left_is_removed_and_a_former_output_kept(workspace: Workspace) -> None:
    """Killed between moving the former output away and putting the new one there."""
    with claim(workspace) as dead:
        attempt = dead.new_attempt()
        (attempt.root / "view").mkdir()
        (workspace.root / "output").rename(dead.desk / "former")
        desk = workspace.attempts_dir / ".desk-0123456789abcdef"
        (attempt.root / ".owner").write_text(desk.name)
        dead.desk.rename(desk)
    with claim(workspace):
        left = {
            str(path.relative_to(workspace.attempts_dir)) for path in workspace.attempts_dir.rglob("*.csv")
        }
        assert left == {"2/previous_output/pred.csv"}
        assert not attempt.root.exists()


def test_who_knows_that_a_holder_is_dead_clears_its_attempt_and_desk_and_no_others(
    workspace: Workspace,
) -> None:
    with claim(workspace) as living:
        dead = workspace.new_attempt(".desk-0123456789abcdef")
        desk = workspace.attempts_dir / dead.owner()
        (desk / "former").mkdir(parents=True)
        (desk / "former" / "pred.csv").write_text("former")
        clear_attempt(dead)
        there = {path.name for path in workspace.attempts_dir.iterdir()}
        assert there == {living.desk.name, "2"}
        assert (workspace.attempts_dir / "2" / "previous_output" / "pred.csv").read_text() == "former"
        for owner in ("../../input", ".desk-/../../../input", ""):
            clear_attempt(workspace.new_attempt(owner))
        assert (workspace.root / "input").is_dir()


def test_an_attempt_that_was_kept_to_be_looked_at_stays(workspace: Workspace) -> None:
    with claim(workspace) as held:
        attempt = held.new_attempt()
        attempt.write("note", b"kept")
        attempt.keep()
    with claim(workspace):
        assert (attempt.root / "note").read_text() == "kept"


def test_a_guard_is_asked_before_anything_is_changed(workspace: Workspace) -> None:
    def lost() -> None:
        raise FencedError("lost")

    with claim(workspace, Holder(guard=lost)) as held, pytest.raises(FencedError):
        held.write_json(workspace.root / "output" / "result.json", {})
    assert not (workspace.root / "output" / "result.json").exists()


def test_a_result_replaces_whatever_stands_at_its_name(workspace: Workspace) -> None:
    target = workspace.root / "output" / "result.json"
    (target / "sub").mkdir(parents=True)
    with claim(workspace) as held:
        held.write_json(target, {"a": 1})
    assert json.loads(target.read_text()) == {"a": 1}
