"""The file system that bounds an output: its limits hold, its space is there, nothing of it stays."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autoscorer.executor.base import AttemptPlan
from autoscorer.executor.docker.output_cap import (
    CappedOutput,
    OutputFolder,
    PolledOutput,
    make_output,
    take_away,
)
from autoscorer.utils.errors import AutoscorerError
from tests.executor.attempts import eventually, make_plan
from tests.executor.docker.containers import MIB, loops_below, mounts_below

needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
pytestmark = pytest.mark.slow


@contextmanager
def output(plan: AttemptPlan, *, capped: bool) -> Iterator[OutputFolder]:
    made = CappedOutput(plan) if capped else PolledOutput(plan)
    try:
        yield made
    finally:
        made.close()


def fill(path: Path) -> int:
    """Write until the disk says no; the bytes written."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(2**16))
    return path.stat().st_size


@needs_mounts
@pytest.mark.parametrize("size_bytes", [MIB, 20 * MIB, 300 * MIB])
def test_all_that_is_allowed_can_be_written_and_little_more(tmp_path: Path, size_bytes: int) -> None:
    plan = make_plan(tmp_path, ("x",), output_bytes=size_bytes)
    with output(plan, capped=True) as made:
        written = fill(made.path / "fill")
        assert size_bytes <= written <= size_bytes * 1.02 + 8 * MIB
        assert made.breach(at_end=True) is not None
        (made.path / "fill").unlink()
        assert made.breach(at_end=True) is None


@needs_mounts
def test_as_many_files_as_are_allowed_can_be_made_and_few_more(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, ("x",), output_entries=200)
    with output(plan, capped=True) as made:
        with contextlib.suppress(OSError):
            for number in range(10_000):
                (made.path / str(number)).touch()
        assert 200 <= len(os.listdir(made.path)) < 300
        assert made.breach(at_end=True) is not None


def test_control_without_it_a_plain_folder_takes_more_and_the_watch_says_so(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, ("x",), output_bytes=MIB, output_entries=200)
    with output(plan, capped=False) as made:
        for number in range(300):
            (made.path / str(number)).touch()
        breach = made.breach(at_end=True)
        assert breach is not None
        assert breach["entries"] > 200


@needs_mounts
def test_neither_set_uid_programs_nor_devices_work_there(tmp_path: Path) -> None:
    with output(make_plan(tmp_path, ("x",)), capped=True) as made:
        flags = os.statvfs(made.path).f_flag
        assert flags & os.ST_NOSUID
        assert flags & os.ST_NODEV


@needs_mounts
def test_nothing_stays_when_it_is_closed_and_closing_twice_is_fine(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, ("x",))
    with output(plan, capped=True) as made:
        (made.path / "x").write_text("x")
        assert mounts_below(tmp_path)
        made.close()
        made.close()
    assert mounts_below(tmp_path) == []
    assert eventually(lambda: loops_below(tmp_path) == [])
    assert [entry.name for entry in plan.attempt_dir.iterdir()] == ["out"]


@needs_mounts
def test_it_goes_even_while_somebody_stands_in_it(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, ("x",))
    with output(plan, capped=True) as made:
        held = os.open(made.path, os.O_RDONLY)
        made.close()
        assert mounts_below(tmp_path) == []
        os.close(held)
    assert eventually(lambda: loops_below(tmp_path) == [])


@needs_mounts
def test_take_away_leaves_what_is_no_mount(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").touch()
    assert take_away(tmp_path / "out", tmp_path / "absent") is False
    assert (tmp_path / "out" / "kept").exists()


@needs_mounts
def test_a_disk_without_room_for_the_output_is_said_before_the_program_starts(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    plan = make_plan(tmp_path, ("x",), output_bytes=disk.f_bavail * disk.f_frsize + 2**30)
    with pytest.raises(AutoscorerError) as caught:
        make_output(plan, capped=True)
    assert (caught.value.code, caught.value.blame) == ("RESOURCE_UNAVAILABLE", "operator")
    assert not any(entry.is_file() for entry in plan.attempt_dir.iterdir())


def test_where_nothing_can_be_mounted_the_folder_is_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("autoscorer.executor.docker.output_cap.shutil.which", lambda *_, **__: None)
    made = make_output(make_plan(tmp_path, ("x",)), capped=True)
    assert isinstance(made, PolledOutput)
    assert made.breach(at_end=True) is None
    made.close()


def test_the_folders_name_cannot_be_guessed(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, ("x",))
    names = set()
    for _ in range(3):
        with output(plan, capped=False) as made:
            names.add(made.path.name)
    assert len(names) == 3
    assert all(len(name) == 32 for name in names)
