"""A confined program, without an executor: its set-up, its limits, and what is left of it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from autoscorer.confine.caps import Caps
from autoscorer.confine.spawn import Command, Confined, Ended
from autoscorer.utils.errors import AutoscorerError

ENV = {"PATH": "/usr/bin:/bin"}


def start(tmp_path: Path, *argv: str, cwd: Path | None = None, caps: Caps | None = None) -> Confined:
    command = Command(argv=argv, env=ENV, cwd=cwd or tmp_path)
    return Confined(command, caps or Caps(), log_path=tmp_path / "log", log_bytes=10_000)


def run(tmp_path: Path, *argv: str, caps: Caps | None = None) -> Ended[str]:
    program = start(tmp_path, *argv, caps=caps)
    try:
        return program.wait([])
    finally:
        program.close()


def test_a_set_up_that_fails_is_our_error_and_leaves_nothing(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(AutoscorerError) as caught:
        start(tmp_path, "true", cwd=tmp_path / "missing")
    assert caught.value.code == "EXEC_ERROR"
    assert os.listdir("/proc/self/fd") == before
    assert not (tmp_path / "ran").exists()


OPEN_FILES = "for n in $(seq 3 60); do [ -e /proc/$$/fd/$n ] && echo $n; done"


def test_a_program_gets_no_descriptor_of_ours(tmp_path: Path) -> None:
    extra = os.open("/etc/hostname", os.O_RDONLY)
    try:
        run(tmp_path, "sh", "-c", OPEN_FILES)
        assert (tmp_path / "log").read_text() == ""
        control = subprocess.run(["sh", "-c", OPEN_FILES], pass_fds=[extra], capture_output=True, check=False)
        assert control.stdout.split() == [b"%d" % extra]
    finally:
        os.close(extra)


def test_a_program_starts_with_the_usual_signals_and_no_input(tmp_path: Path) -> None:
    run(tmp_path, "sh", "-c", "grep -E 'SigIgn|NoNewPrivs' /proc/self/status; cat")
    words = (tmp_path / "log").read_text().split()
    # 32 and 33 are glibc's own: its posix_spawn (GNU make uses it) leaves them ignored in what it starts.
    assert int(words[1], 16) & ~(0b11 << 31) == 0
    assert words[2:] == ["NoNewPrivs:", "1"]


def test_one_file_has_a_limit_and_no_core_is_dumped(tmp_path: Path) -> None:
    ended = run(tmp_path, "sh", "-c", "ulimit -c; head -c 9999 /dev/zero > file", caps=Caps(file_bytes=5000))
    assert (tmp_path / "log").read_text().startswith("0\n")
    assert (tmp_path / "file").stat().st_size == 5000
    assert ended.exit_code != 0


def test_closing_kills_at_once_and_may_be_done_twice(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    program = start(tmp_path, "sleep", "60")
    started = time.monotonic()
    program.close()
    program.close()
    assert time.monotonic() - started < 30
    assert os.listdir("/proc/self/fd") == before


def test_a_reason_without_grace_kills_without_sigterm(tmp_path: Path) -> None:
    program = start(tmp_path, "sh", "-c", "trap 'touch polite' TERM; while :; do sleep 0.01; done")
    ended = program.wait([lambda: "now"], at_once=("now",))
    program.close()
    assert ended.stopped == "now"
    assert ended.signal == 9
    assert not (tmp_path / "polite").exists()


def test_the_first_reason_given_is_kept(tmp_path: Path) -> None:
    program = start(tmp_path, "sleep", "60")
    ended = program.wait([lambda: None, lambda: "first", lambda: "second"])
    program.close()
    assert ended.stopped == "first"
    assert ended.signal == 15


def test_hundreds_of_quick_descendants_are_all_reaped(tmp_path: Path) -> None:
    ended = run(tmp_path, "sh", "-c", "i=0; while [ $i -lt 300 ]; do (true &) ; i=$((i+1)); done")
    assert ended.exit_code == 0
    assert not ended.lost
