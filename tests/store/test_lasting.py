"""Work beside a block begins when the block lasts, and ends with it."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import pytest

from autoscorer.store.lasting import Lasting
from tests.worker.sites import until


class Work:
    """Notes that it has begun, and goes on until it is told to stop."""

    def __init__(self) -> None:
        self.begun, self.ended, self.stop = threading.Event(), threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        self.stop.wait()
        self.ended.set()


def test_beside_a_block_that_is_soon_over_nothing_begins() -> None:
    lasting, works = Lasting(after_s=0.05), [Work() for _ in range(20)]
    for work in works:
        with lasting.beside(work, work.stop, name="short"):
            pass
    with lasting.beside(last := Work(), last.stop, name="long"):
        until(last.begun.is_set)  # by then all others were due
    assert not any(work.begun.is_set() for work in works)


def test_work_beside_a_block_that_lasts_has_ended_with_it() -> None:
    lasting, works = Lasting(after_s=0.0), [Work() for _ in range(3)]
    for work in works:
        with lasting.beside(work, work.stop, name="long"):
            until(work.begun.is_set)
            assert not work.ended.is_set()
        assert work.ended.is_set()


def test_blocks_side_by_side_each_have_their_own() -> None:
    lasting, one, other = Lasting(after_s=0.0), Work(), Work()
    with lasting.beside(one, one.stop, name="one"):
        with lasting.beside(other, other.stop, name="other"):
            until(lambda: one.begun.is_set() and other.begun.is_set())
        assert other.ended.is_set()
        assert not one.ended.is_set()


def test_a_block_that_fails_ends_its_work_as_well() -> None:
    work = Work()

    def fail() -> None:
        with Lasting(after_s=0.0).beside(work, work.stop, name="failing"):
            until(work.begun.is_set)
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert work.ended.is_set()


def test_while_there_can_be_no_more_threads_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    start, refused = threading.Thread.start, threading.Event()

    def refuse_once(thread: threading.Thread) -> None:
        if thread.name == "late" and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_once)
    work = Work()
    with Lasting(after_s=0.01).beside(work, work.stop, name="late"):
        until(work.begun.is_set)
    assert refused.is_set()


def test_one_that_cannot_be_looked_after_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its work begins beside the next, for a job that nobody works on."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "lasting":
            raise RuntimeError("can't start new thread")
        start(thread)

    lasting, failed, work = Lasting(after_s=0.01), Work(), Work()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError), lasting.beside(failed, failed.stop, name="failed"):
            pass
    with lasting.beside(work, work.stop, name="next"):
        until(work.begun.is_set)
    assert failed.stop.is_set()
    assert not failed.begun.is_set()


def test_whatever_hinders_one_the_others_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    start, refused = threading.Thread.start, threading.Event()

    def refuse_once(thread: threading.Thread) -> None:
        if thread.name == "hindered" and not refused.is_set():
            refused.set()
            raise MemoryError
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_once)
    lasting, one, other = Lasting(after_s=0.01), Work(), Work()
    with lasting.beside(one, one.stop, name="hindered"), lasting.beside(other, other.stop, name="other"):
        until(lambda: one.begun.is_set() and other.begun.is_set())
    assert refused.is_set()


def test_a_clock_that_is_set_back_delays_none(monkeypatch: pytest.MonkeyPatch) -> None:
    behind_s, works = 0.0, [Work() for _ in range(5)]
    monotonic = time.monotonic
    monkeypatch.setattr("autoscorer.store.lasting.time.monotonic", lambda: monotonic() - behind_s)
    lasting = Lasting(after_s=0.5)
    with ExitStack() as blocks:
        for work in works:
            blocks.enter_context(lasting.beside(work, work.stop, name="long"))
        behind_s, began_s = 1000.0, monotonic()
        until(lambda: all(work.begun.is_set() for work in works))
        assert monotonic() - began_s < 2  # not 0.5 s one after another, nor a thousand


def test_nobody_waits_where_nothing_lasts() -> None:
    lasting, work = Lasting(after_s=0.05), Work()
    with lasting.beside(work, work.stop, name="short"):
        until(lambda: not lasting._blocks)  # it is looked after, and over before it is due
    until(lambda: lasting._thread is None)
    assert not work.begun.is_set()
    with lasting.beside(work := Work(), work.stop, name="long"):
        until(work.begun.is_set)
