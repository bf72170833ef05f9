"""A turn is a courtesy: had by one thread at a time while all are quick, and by nobody for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from autoscorer.utils import turns
from autoscorer.utils.turns import Turns


@pytest.fixture
def two() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a busy machine lets nobody lose it."""
    monkeypatch.setattr(turns, "MOST_S", 10.0)
    monkeypatch.setattr(turns, "LOOK_S", 10.0)


def most_at_once(turn: Callable[[], object], pool: ThreadPoolExecutor) -> int:
    """How many threads were inside at the same time, of two that go in ten times."""
    inside, most = [0], [0]

    def go() -> None:
        for _ in range(10):
            with turn():  # type: ignore[attr-defined]
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.002)
                inside[0] -= 1

    for future in [pool.submit(go) for _ in range(2)]:
        future.result()
    return most[0]


def test_quick_ones_come_one_after_the_other(two: ThreadPoolExecutor) -> None:
    assert most_at_once(Turns().taken, two) == 1
    assert most_at_once(Turns().kept, two) == 2  # the control: without a turn


def test_what_takes_long_lets_others_in_and_has_the_turn_again_after(two: ThreadPoolExecutor) -> None:
    turn, inside, go_on = Turns(), threading.Event(), threading.Event()

    def long() -> bool:
        with turn.taken():
            with turn.aside():
                inside.set()
                assert go_on.wait(10)
            return turn._is_mine()

    future = two.submit(long)
    assert inside.wait(10)
    began = time.monotonic()
    with turn.taken():
        assert time.monotonic() - began < turns.LOOK_S / 2
    go_on.set()
    assert future.result(10)
    assert turn._whose is None


def test_one_that_hangs_costs_a_moment_once(two: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LOOK_S", 0.2)
    turn, inside, go_on = Turns(), threading.Event(), threading.Event()

    def hang() -> None:
        with turn.taken():
            inside.set()
            assert go_on.wait(10)

    future = two.submit(hang)
    assert inside.wait(10)
    waited = []
    for _ in range(3):
        began = time.monotonic()
        with turn.taken():
            waited.append(time.monotonic() - began >= turns.LOOK_S)
    assert waited == [True, False, False]
    with turn.taken():
        go_on.set()
        future.result(10)
        assert turn._is_mine()  # whoever lost it takes it from nobody
    assert turn._whose is None


@pytest.mark.parametrize("most_s", [10.0, 0.1])
def test_who_computes_keeps_it_longer_but_not_for_ever(
    two: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, most_s: float
) -> None:
    monkeypatch.setattr(turns, "LOOK_S", 0.05)
    monkeypatch.setattr(turns, "LEAST_COMPUTING", 0.0001)  # on a busy machine, too
    monkeypatch.setattr(turns, "MOST_S", most_s)
    turn, inside = Turns(), threading.Event()

    def compute() -> None:
        with turn.taken():
            inside.set()
            began = time.monotonic()
            while time.monotonic() < began + 0.5:
                pass

    future = two.submit(compute)
    assert inside.wait(10)
    began = time.monotonic()
    with turn.taken():
        waited_s = time.monotonic() - began
    future.result(10)
    assert (waited_s > 0.3) == (most_s > 0.3)


def test_inside_a_turn_another_is_the_same() -> None:
    turn = Turns()
    with turn.taken():
        with turn.taken():
            pass
        assert turn._is_mine()
        with turn.kept():
            turn.let_go()
            turn.let_go()
            assert not turn._is_mine()
        assert turn._is_mine()
    turn.let_go()
    with turn.aside():
        assert not turn._is_mine()
    assert turn._whose is None


def test_an_error_lets_go_too() -> None:
    turn = Turns()
    with pytest.raises(ValueError, match="oops"), turn.taken():
        raise ValueError("oops")
    with pytest.raises(ValueError, match="oops"), turn.taken(), turn.aside():
        raise ValueError("oops")
    assert turn._whose is None
