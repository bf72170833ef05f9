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
from tests.imaging import KEPT_BUSYBOX

pytestmark = [
    pytest.mark.docker,  # the test bed keeps the busybox
    pytest.mark.skipif(os.geteuid() != 0, reason="takes another user"),
]
NOBODY = 65534
ITSELF = "THIS-BUSYBOX"  # in a script: the program that runs it
ALLOWED: Limits = replace(limits(), output_bytes=2**20, output_entries=50)
FAR_DOWN = (
    "d=$(printf 'd%.0s' $(seq 250)); for i in $(seq 18); do mkdir $d && cd -P $d; done; "
    "head -c 20971520 /dev/zero > x"
)
HIDE = "mkdir -m 300 h && for i in $(seq 20); do head -c 1048576 /dev/zero > h/$i; done"


@pytest.fixture
def output() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are not for another user
        os.chmod(made, 0o755)
        shutil.copy(KEPT_BUSYBOX, made)  # nor need another user reach the checkout
        out = Path(made, "output")
        out.mkdir()
        os.chown(out, NOBODY, NOBODY)
        yield out


def shell(script: str, output: Path, *, timeout_s: float = 20, user: int = NOBODY) -> int | None:
    """Its exit code; None if it still ran then."""
    busybox = str(output.parent / KEPT_BUSYBOX.name)
    script = script.replace(scripts.VOLUMES_AT, str(output.parent)).replace(ITSELF, busybox)
    command = [busybox, "sh", "-c", script]
    with subprocess.Popen(
        command,
        cwd=output,
        user=user,
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


def flipping(tool: str) -> str:
    """What a program does that opens its folder for every look but that of ``tool``."""
    return f'{tool}() {{ chmod 000 h; {ITSELF} {tool} "$@"; chmod 700 h; }}\n'


@pytest.mark.parametrize(
    ("program", "then"),
    [
        (HIDE, ""),
        (HIDE, flipping("du")),
        ("mkdir h && for i in $(seq 60); do : > h/$i; done", flipping("find")),
        (FAR_DOWN, ""),
    ],
    ids=["hidden", "hidden from the measure", "hidden from the count", "too far down to be named"],
)
def test_what_stands_in_a_folder_that_cannot_be_read_is_too_much(
    output: Path, monkeypatch: pytest.MonkeyPatch, program: str, then: str
) -> None:
    assert shell(program, output) == 0
    assert shell(then + scripts.watch_script(ALLOWED), output) == scripts.OVER_BYTES
    # The control: to whom nobody's complaints are told, 20 MiB of 1, or 60 files of 50, are never noticed
    for words in scripts._HIDING:
        monkeypatch.setattr(scripts, "_AT_MOST", scripts._AT_MOST.replace(words, "-"))
    assert shell(then + scripts.watch_script(ALLOWED), output, timeout_s=4) is None


@pytest.mark.parametrize(("size", "code"), [(4194304, scripts.OVER_BYTES), (1024, None)])
def test_a_name_in_a_complaint_does_not_stand_for_the_figure(
    output: Path, size: int, code: int | None
) -> None:
    complains = f'du() {{ {ITSELF} du "$@"; printf "du: ./x\\n0\\n: No such file or directory\\n"; }}\n'
    assert shell(f"head -c {size} /dev/zero > y", output) == 0
    assert shell(complains + scripts.watch_script(ALLOWED), output, timeout_s=20 if code else 3) == code


def killed(tool: str, *, times: int) -> str:
    """What others do who kill ``tool`` so many times, as for want of memory; afterwards they let it be."""
    return (
        f"{tool}() {{ echo >> ../killed; [ $({ITSELF} wc -l < ../killed) -gt {times} ] || exit 137; "
        f'{ITSELF} {tool} "$@"; }}\n'
    )


@pytest.mark.parametrize("tool", ["du", "wc"])
@pytest.mark.parametrize(
    ("times", "size", "code"),
    [(1, 1024, None), (1, 4194304, scripts.OVER_BYTES), (99, 1024, scripts.OVER_BYTES)],
    ids=["once", "once, and it is too much", "always"],
)
def test_a_look_that_was_killed_tells_nothing_and_one_that_always_is_hides_something(
    output: Path, tool: str, times: int, size: int, code: int | None
) -> None:
    output.parent.chmod(0o777)
    assert shell(f"head -c {size} /dev/zero > y", output) == 0
    then = killed(tool, times=times) + scripts.watch_script(ALLOWED)
    assert shell(then, output, timeout_s=20 if code else 4) == code
    assert len((output.parent / "killed").read_text()) > 1


def test_a_program_that_leaves_no_process_for_the_look_is_not_unwatched(output: Path) -> None:
    """As in a pod, where both share the processes. Control: with enough of them it is within what it may."""
    at_most = [f"ulimit -u {number}; {scripts.watch_script(ALLOWED)}" for number in (99, 3)]
    somebody = 10**6 + os.getpid()  # whose processes no other test has
    codes = [shell(script, output, timeout_s=12, user=somebody) for script in at_most]
    assert codes == [None, scripts.OVER_BYTES]


def test_who_sends_and_cannot_count_says_so(output: Path) -> None:
    """Control: who is not killed sends."""
    output.parent.chmod(0o777)
    script = killed("wc", times=1) + scripts.send_script(ALLOWED)
    assert [shell(script, output) for _ in range(2)] == [scripts.UNCOUNTED, 0]


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
    assert script.index(f" {scripts.OVER_ENTRIES} ||") < script.index(f" {scripts.OVER_DEPTH} ||")
