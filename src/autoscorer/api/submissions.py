"""Submitting: those that come at once go through checks, store and answers together.

Python computes in one thread at a time and the store writes in one, and each change of threads costs as much
as a check. So a thread takes all that waits. Another one joins it only when that takes long, as on a slow
disk; a folder whose file system does not answer holds up its own requests alone, and not for ever.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import PurePosixPath
from weakref import WeakKeyDictionary

from starlette.concurrency import run_in_threadpool

from autoscorer.access.principal import Principal
from autoscorer.api.rounds import Answers, Round, Wish
from autoscorer.intake.submitting import Intake
from autoscorer.schemas.service import JobRequest
from autoscorer.store.records import Submission
from autoscorer.utils.logger import log_event

ROUNDS = 8  # at once, beside those that are stuck
WATCH_S, LATE_S = 0.05, 1.0
NEXT_S = 0.1  # what waits does not wait longer for a round under way
STUCK_S = 1.0  # in one check: the round's others go on without it
PATIENCE_S = 15.0
MOST_STUCK = 4  # of one folder: whoever asks for it as well is refused at once


class Submissions:
    """Where requests are handed in. For any number of event loops, a line each."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        root = intake.settings.workspace_root
        self._roots = [PurePosixPath(root), PurePosixPath(os.path.realpath(root))] if root else []
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()

    async def submit(self, asked: JobRequest, principal: Principal, *, key: str | None) -> Submission:
        """As `Intake.submit`; RESOURCE_UNAVAILABLE (workspace) when the folder does not answer, and
        STORE_UNAVAILABLE when its turn does not come: the rounds are at a store that takes long.

        One that copies a workspace may take long, so it has a thread elsewhere and holds up nobody.
        """
        if asked.spec is not None:
            return await run_in_threadpool(self._intake.submit, asked, principal, key=key)
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            line = self._lines[loop] = _Line(self._intake, loop)
        wish = Wish(asked, principal, key, loop.create_future(), self._roots)
        line.add(wish)
        return await wish.answer


class _Line:
    """What waits in one event loop, and the rounds under way. Only rounds run in other threads."""

    def __init__(self, intake: Intake, loop: asyncio.AbstractEventLoop) -> None:
        self._intake = intake
        self._loop = loop
        self._waiting: deque[Wish] = deque()
        self._rounds: set[Round] = set()
        self._stuck: dict[Round, Wish] = {}
        self._is_watched = False
        self._watch_due_s = 0.0

    def add(self, wish: Wish) -> None:
        if self._stuck and self._is_barred(wish):
            wish.refuse()
            return
        if not self._waiting:  # once all that came with it is in the line
            self._loop.call_soon(self._begin)
        self._waiting.append(wish)

    def _begin(self) -> None:
        """Another round, if one is needed."""
        if not self._is_watched and (self._rounds or self._waiting):
            self._is_watched = True
            self._watch_due_s = time.monotonic() + WATCH_S
            self._loop.call_later(WATCH_S, self._watch)
        n_busy = sum(not one.is_alone for one in self._rounds)
        waits_s = self._waits_for_s()
        if waits_s is None or n_busy >= ROUNDS or (n_busy > 0 and waits_s < NEXT_S):
            return
        one = Round(self._intake, self._waiting)
        threading.Thread(target=self._run, args=(one,), name="submissions", daemon=True).start()
        self._rounds.add(one)

    def _waits_for_s(self) -> float | None:
        """How long the first has waited; None if nothing does."""
        try:
            return time.monotonic() - self._waiting[0].since_s
        except IndexError:
            return None

    def _run(self, one: Round) -> None:
        """In a thread of its own."""
        try:
            answers = one.run()
        except BaseException as exc:  # boundary of a task: nobody is left waiting
            log_event("ERROR", "submissions_internal_error", error=exc)
            answers = one.failed(exc)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._finish, one, answers)

    def _finish(self, one: Round, answers: Answers) -> None:
        self._rounds.discard(one)
        self._stuck.pop(one, None)
        for wish, outcome in answers:
            wish.hear(outcome)
        self._begin()

    def _watch(self) -> None:
        """Now and then while anything is under way: what takes long holds up no other, nor for ever."""
        self._is_watched = False
        # When the watch itself comes late, this process was stopped: no folder is to blame for that.
        if time.monotonic() < self._watch_due_s + LATE_S:
            self._judge()
        self._begin()

    def _judge(self) -> None:
        for one in self._rounds:
            slow, others = one.leave_alone(after_s=STUCK_S)
            if slow is not None:
                self._stuck[one] = slow
                self._waiting.extendleft(reversed(others))
            if one.is_alone and (hanging := one.give_up(after_s=PATIENCE_S)) is not None:
                hanging.refuse()
        self._sift()

    def _sift(self) -> None:
        """Refuse what has waited too long, or asks for a folder that does not answer."""
        kept = []
        oldest_s = time.monotonic() - PATIENCE_S
        with suppress(IndexError):  # rounds take from it meanwhile
            while True:
                wish = self._waiting.popleft()
                if self._is_barred(wish):
                    wish.refuse()
                elif wish.since_s < oldest_s:
                    wish.refuse_late()
                else:
                    kept.append(wish)
        self._waiting.extendleft(reversed(kept))

    def _is_barred(self, wish: Wish) -> bool:
        return sum(stuck.folder == wish.folder for stuck in self._stuck.values()) >= MOST_STUCK
