"""The engine's stream taken apart: however it is cut, the log and the tail of stderr are the same."""

from __future__ import annotations

import itertools
import socket
import struct
import tempfile
import tracemalloc
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from autoscorer.executor.docker.logs import CHUNK_BYTES, AttachedStream, ContainerLog

MIB = 2**20
frames = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=60)), max_size=12)


def packed(parts: list[tuple[int, bytes]]) -> bytes:
    return b"".join(struct.pack(">BxxxL", stream, len(content)) + content for stream, content in parts)


def collected(pieces: list[bytes], *, max_bytes: int = MIB) -> tuple[bytes, str, int]:
    """(log, tail of stderr, bytes dropped) of a stream that came in these pieces."""
    ours, engines = socket.socketpair()
    with tempfile.TemporaryDirectory() as folder:
        log = ContainerLog(Path(folder) / "log", max_bytes)
        stream = AttachedStream(ours)
        for piece in pieces:
            engines.sendall(piece)
            log.take(stream, 1)
        engines.close()
        while not stream.ended:
            log.take(stream, 1)
        tail, dropped = log.stderr_tail, log.close()
        stream.close()
        return (Path(folder) / "log").read_bytes(), tail, dropped


@given(parts=frames, cuts=st.lists(st.integers(0, 900), max_size=8))
def test_where_the_stream_is_cut_changes_nothing(parts: list[tuple[int, bytes]], cuts: list[int]) -> None:
    stream = packed(parts)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    log, _, dropped = collected(pieces)
    assert log == b"".join(content for _, content in parts)
    assert dropped == 0


def test_only_stderr_is_in_the_tail_and_its_control_characters_are_shown() -> None:
    _, tail, _ = collected([packed([(1, b"out\n"), (2, b"one\n\x1b[31mtwo"), (1, b"out\n"), (2, b"\0\n")])])
    assert tail == "one\n\\x1b[31mtwo\\x00"


def test_an_engine_that_breaks_off_in_a_frame_ends_the_stream() -> None:
    log, _, _ = collected([struct.pack(">BxxxL", 1, 1000) + b"only this"])
    assert log == b"only this"


def test_a_line_of_a_hundred_megabytes_takes_no_memory() -> None:
    ours, engines = socket.socketpair()
    chunk = bytes(CHUNK_BYTES)
    frame = struct.pack(">BxxxL", 2, 100 * MIB)
    with tempfile.TemporaryDirectory() as folder:
        log = ContainerLog(Path(folder) / "log", MIB)
        stream = AttachedStream(ours)
        engines.settimeout(0)
        engines.send(frame)
        sent = 0
        tracemalloc.start()
        while sent < 100 * MIB:
            try:
                sent += engines.send(chunk[: 100 * MIB - sent])
            except BlockingIOError:
                log.take(stream, 1)
        engines.close()
        while not stream.ended:
            log.take(stream, 1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert log.close() > 98 * MIB
        stream.close()
    assert peak < 4 * MIB
