"""Head, tail and what is said about the bytes between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoscorer.confine.logs import HeadTailLog, Tail, readable_tail


def write_log(path: Path, content: bytes, *, max_bytes: int, step: int) -> int:
    log = HeadTailLog(path, max_bytes)
    for start in range(0, len(content), step):
        log.write(memoryview(content)[start : start + step])
    return log.close()


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_a_short_log_is_kept_whole(tmp_path: Path, step: int) -> None:
    content = b"line\n" * 100
    assert write_log(tmp_path / "log", content, max_bytes=2000, step=step) == 0
    assert (tmp_path / "log").read_bytes() == content


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_a_long_log_keeps_head_and_tail_and_says_how_much_is_missing(tmp_path: Path, step: int) -> None:
    content = b"".join(b"%07d\n" % number for number in range(1000))  # 8,000 bytes
    dropped = write_log(tmp_path / "log", content, max_bytes=1000, step=step)
    kept = (tmp_path / "log").read_bytes()
    head, _, rest = kept.partition(b"\n[... ")
    number, _, tail = rest.partition(b" bytes left out here ...]\n")
    assert len(kept) <= 1000
    assert content.startswith(head)
    assert content.endswith(tail)
    assert int(number) == dropped == 8000 - len(head) - len(tail)


def test_an_empty_log_is_an_empty_file(tmp_path: Path) -> None:
    assert write_log(tmp_path / "log", b"", max_bytes=100, step=1) == 0
    assert (tmp_path / "log").read_bytes() == b""


def test_a_full_disk_loses_the_log_and_nothing_else(tmp_path: Path) -> None:
    log = HeadTailLog(tmp_path / "log", 1000)
    log._file.close()
    log._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115 - the log closes it
    log.write(memoryview(b"x" * 100))
    assert log.close() == 100
    assert log.close() == 100


def test_a_tail_of_single_bytes_stays_small() -> None:
    tail = Tail(1000)
    for number in range(10_000):
        tail.write(bytes([number % 256]))
        assert len(tail._kept) <= 2000
    assert tail.content() == bytes(number % 256 for number in range(9000, 10_000))
    assert tail.seen_bytes == 10_000


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", ""),
        (b"one\ntwo\n", "one\ntwo"),
        (b"a\r\nb\r\n", "a\nb"),
        (b"\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        (b"bar\rbaz", "bar\\rbaz"),
        (b"tab\there", "tab\there"),
        (b"\xff\xfe", "��"),
        ("预测 café".encode(), "预测 café"),
        ("\u202eevil".encode(), "\\u202eevil"),
        (b"nul\x00", "nul\\x00"),
    ],
)
def test_a_tail_cannot_drive_a_terminal(content: bytes, text: str) -> None:
    assert readable_tail(content) == text


def test_only_the_last_lines_are_shown() -> None:
    assert readable_tail(b"".join(b"%d\n" % n for n in range(50)), lines=3) == "47\n48\n49"


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder"])
def test_what_stands_in_the_logs_place_is_replaced_and_never_written_through(
    tmp_path: Path, kind: str
) -> None:
    victim, log = tmp_path / "victim", tmp_path / "log"
    victim.write_text("precious")
    if kind == "link":
        log.symlink_to(victim)
    elif kind == "hard link":
        log.hardlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(log)
    else:
        (log / "sub").mkdir(parents=True)
    assert write_log(log, b"evil", max_bytes=100, step=4) == 0
    assert victim.read_text() == "precious"
    assert log.read_bytes() == b"evil"
