"""What several threads ask for at once, done in one go: one of them does it for all who wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from autoscorer.utils.errors import AutoscorerError

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def _closed() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(eq=False)
class _Wish(Generic[Item, Outcome]):
    item: Item
    outcomes: tuple[Outcome, ...] = ()  # none as long as nobody has done it
    woken: threading.Lock = field(default_factory=_closed)  # opened when it is done, or is to lead


class Together(Generic[Item, Outcome]):
    """``do_all`` for the items of several threads: an outcome each, in their order, or nothing is done.

    A transaction that is waited for until it is on the disk costs ten as much as one. Those that come
    while one is under way are the next one, led by whoever of them came first.
    """

    def __init__(self, do_all: Callable[[Sequence[Item]], Sequence[Outcome]]) -> None:
        self._do_all = do_all
        self._lock = threading.Lock()  # of the two below; held for moments
        self._is_led = False
        self._waiting: deque[_Wish[Item, Outcome]] = deque()

    def do(self, item: Item) -> Outcome:
        """The outcome of ``item``. Raises what ``do_all`` raises for it alone."""
        wish = _Wish[Item, Outcome](item)
        if not self._is_first(wish):
            wish.woken.acquire()
        if not wish.outcomes:
            try:
                self._lead(wish)
            finally:
                self._pass_on()
        return wish.outcomes[0]

    def _is_first(self, wish: _Wish[Item, Outcome]) -> bool:
        with self._lock:
            self._waiting.append(wish)
            is_first, self._is_led = not self._is_led, True
            return is_first

    def _lead(self, own: _Wish[Item, Outcome]) -> None:
        """Do ``own``, and with it what waits if that goes well; else that waits on."""
        with self._lock:
            others = [wish for wish in self._waiting if wish is not own]
            self._waiting.clear()
        is_done = False
        try:
            is_done = bool(others) and self._are_done([own, *others])
        finally:
            if not is_done:
                self._put_back(others)
        if not is_done:
            self._fulfil([own])

    def _are_done(self, wishes: Sequence[_Wish[Item, Outcome]]) -> bool:
        try:
            self._fulfil(wishes)
        except Exception as exc:  # boundary between callers: what is wrong with one fails with it alone
            if isinstance(exc, AutoscorerError) and exc.code == "STORE_UNAVAILABLE":
                raise  # nobody's fault, and it would take as long once more
            return False
        return True

    def _put_back(self, wishes: Sequence[_Wish[Item, Outcome]]) -> None:
        with self._lock:
            self._waiting.extendleft(reversed(wishes))

    def _fulfil(self, wishes: Sequence[_Wish[Item, Outcome]]) -> None:
        for wish, outcome in zip(wishes, self._do_all([wish.item for wish in wishes]), strict=True):
            wish.outcomes = (outcome,)
            wish.woken.release()

    def _pass_on(self) -> None:
        """Have the next one lead."""
        with self._lock:
            self._is_led = bool(self._waiting)
            if self._waiting:
                self._waiting[0].woken.release()
