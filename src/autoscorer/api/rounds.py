"""A round of submissions, in a thread: each is checked, then all are kept in one transaction."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from autoscorer.access.principal import Principal
from autoscorer.intake.submitting import Checked, Intake
from autoscorer.schemas.service import JobRequest
from autoscorer.staging import ORGANISATIONS
from autoscorer.store.records import Submission
from autoscorer.utils.errors import AutoscorerError

MOST, LONGEST_S = 64, 0.1  # of one round; with more of them the first would wait for the last
Answers = list[tuple["Wish", Submission | BaseException]]


@dataclass(frozen=True, eq=False)
class Wish:
    """A request that waits for its ``answer``. What is logged of it carries the ids of its ``context``.

    ``roots`` are the names of WORKSPACE_ROOT.
    """

    asked: JobRequest
    principal: Principal
    key: str | None
    answer: asyncio.Future[Submission]
    roots: Sequence[PurePosixPath] = ()
    context: Context = field(default_factory=copy_context)
    since_s: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> tuple[str, ...]:
        """Who asks, and about which folder: those at the top are where file systems are mounted."""
        return self.principal.organisation_id, *top_folder(self.asked.workspace, roots=self.roots)

    def hear(self, outcome: Submission | BaseException) -> None:
        """Answer, unless that was done or nobody waits any more. In the event loop."""
        if self.answer.done():
            return
        if isinstance(outcome, BaseException):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)

    def refuse_late(self) -> None:
        """Answer that its turn did not come. No folder of its own is to blame: none was looked at."""
        message = f"The service did not get to submitting {self.asked.workspace} in time; try again later."
        self.hear(AutoscorerError("STORE_UNAVAILABLE", message, stage="api"))

    def refuse(self) -> None:
        """Answer that the folder does not, so that the caller may come again."""
        message = f"The folder of {self.asked.workspace} does not answer; try again later."
        self.hear(AutoscorerError("RESOURCE_UNAVAILABLE", message, cause="workspace", stage="api"))


def top_folder(name: str, *, roots: Sequence[PurePosixPath]) -> tuple[str, ...]:
    """The folder at the top of an organisation's home that a workspace's ``name`` leads to.

    By the words alone: the file system that is asked might be the one that hangs.
    """
    path = PurePosixPath(name)
    root = next((root for root in roots if path.is_relative_to(root)), None)
    parts = (path.relative_to(root) if root else path).parts
    return parts[: 3 if parts[:1] == (ORGANISATIONS,) else 1]


class Round:
    """Takes what waits until nothing does. `run` is for its thread, all else for others."""

    def __init__(self, intake: Intake, waiting: deque[Wish]) -> None:
        self._intake = intake
        self._waiting = waiting
        self._lock = threading.Lock()  # of all below; held for moments
        self._found: list[tuple[Wish, Checked | Submission | BaseException]] = []
        self._checking: Wish | None = None
        self._began_s = self._since_s = time.monotonic()
        self._is_given_up = False
        self._answers: Answers = []
        self.is_alone = False

    def run(self) -> Answers:
        """Check and keep; the answers to give, a fault to whom it hit."""
        with ExitStack() as held:
            while (wish := self._next()) is not None:
                self._note(wish, wish.context.run(self._check, wish, held))
            self._answers = self._kept()
        return self._answers

    def failed(self, exc: BaseException) -> Answers:
        """The answers to give when `run` has raised: what was kept stands, and a refusal is as good."""
        with self._lock:
            found = [(wish, exc if isinstance(one, Checked) else one) for wish, one in self._found]
            return self._answers or found

    def leave_alone(self, *, after_s: float) -> tuple[Wish | None, list[Wish]]:
        """Have it take no more, and give back what it had checked before, once a check takes so long.

        The one that takes long, and the others; None if none does, or it was left alone already.
        """
        with self._lock:
            if self.is_alone or not self._checks_longer_than(after_s):
                return None, []
            self.is_alone = True
            found, self._found = self._found, []
            return self._checking, [wish for wish, _ in found]

    def give_up(self, *, after_s: float) -> Wish | None:
        """Have nothing come of a check that takes so long, whenever it ends; None if none does."""
        with self._lock:
            if not self._checks_longer_than(after_s):
                return None
            self._is_given_up = True
            return self._checking

    def _checks_longer_than(self, seconds: float) -> bool:
        return self._checking is not None and time.monotonic() > self._since_s + seconds

    def _next(self) -> Wish | None:
        with self._lock, suppress(IndexError):  # other rounds take from it, too
            now_s = time.monotonic()
            is_full = len(self._found) >= MOST or now_s > self._began_s + LONGEST_S
            if not self.is_alone and not (self._found and is_full):
                self._checking, self._since_s = self._waiting.popleft(), now_s
        return self._checking

    def _check(self, wish: Wish, held: ExitStack) -> Checked | Submission | BaseException:
        try:
            return self._intake.check(wish.asked, wish.principal, key=wish.key, held=held)
        except BaseException as exc:  # boundary of a request: what is wrong with one fails with it alone
            return exc

    def _note(self, wish: Wish, found: Checked | Submission | BaseException) -> None:
        with self._lock:
            self._checking = None
            if not self._is_given_up:
                self._found.append((wish, found))

    def _kept(self) -> Answers:
        answers: Answers = [(wish, found) for wish, found in self._found if not isinstance(found, Checked)]
        checked = [(wish, found) for wish, found in self._found if isinstance(found, Checked)]
        if not checked:
            return answers
        outcomes = self._intake.keep([found for _, found in checked])
        return [*answers, *zip((wish for wish, _ in checked), outcomes, strict=True)]
