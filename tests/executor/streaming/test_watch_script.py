"""The script that watches a streamed output, run here by busybox as the program's user."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autoscorer.executor.base import Limits
from autoscorer.executor.streaming import scripts
from tests.executor.attempts import limits

BUSYBOX = shutil.which("busybox")
pytestmark = pytest.mark.skipif(BUSYBOX is None or os.geteuid() != 0, reason="takes busybox and another user")
NOBODY = 65534
ALLOWED: Limits = replace(limits(), output_bytes=2**20, output_entries=50)
HIDE = "mkdir -m 300 h && for i in $(seq 20); do head -c 1048576 /dev/zero > h/$i; done"


@pytest.fixture
def output() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are not for another user
        os.chmod(made, 0o755)
        out = Path(made, "output")
        out.mkdir()
        os.chown(out, NOBODY, NOBODY)
        yield out


def shell(script: str, output: Path, *, timeout_s: float = 20) -> int | None:
    """Its exit code; None if it still ran then."""
    assert BUSYBOX is not None
    command = [BUSYBOX, "sh", "-c", script.replace(scripts.VOLUMES_AT, str(output.parent))]
    with subprocess.Popen(
        command,
        cwd=output,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        try:
            return run.wait(timeout_s)
        except subprocess.TimeoutExpired:
            run.terminate()
            return None


def test_what_stands_in_a_folder_that_cannot_be_read_is_too_much(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shell(HIDE, output) == 0
    assert shell(scripts.watch_script(ALLOWED), output) == scripts.OVER_BYTES
    monkeypatch.setattr(scripts, "_HIDES", "")  # the control: unguarded, 20 MiB of 1 are never noticed
    assert shell(scripts.watch_script(ALLOWED), output, timeout_s=4) is None


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("for i in $(seq 60); do : > $i; done", scripts.OVER_ENTRIES),
        ("head -c 4194304 /dev/zero > x", scripts.OVER_BYTES),
        ("d=$(printf 'a/%.0s' $(seq 45)); mkdir -p $d", scripts.OVER_DEPTH),
        ("mkdir -p a/b; chmod 500 a; echo x > a/b/c", None),
    ],
    ids=["entries", "bytes", "depth", "within"],
)
def test_the_watch_ends_by_the_code_of_what_was_too_much(
    output: Path, program: str, code: int | None
) -> None:
    assert shell(program, output) == 0
    assert shell(scripts.watch_script(ALLOWED), output, timeout_s=20 if code else 3) == code


def test_what_is_left_is_counted_before_anything_walks_all_of_it() -> None:
    script = scripts.send_script(ALLOWED)
    assert script.index(f"exit {scripts.OVER_ENTRIES}") < script.index(f"exit {scripts.OVER_DEPTH}")
