"""Points in a worker's life at which it can be killed or stopped; the product knows nothing of them."""

from __future__ import annotations

import os
import pathlib
import signal
from collections.abc import Callable
from typing import Any

from autoscorer.claims import Claim
from autoscorer.store.sql.work import SqlWork
from autoscorer.store.stages import Stages
from autoscorer.traces import Traces
from tests.worker.stub import StubExecutor

MOVES = 40  # more than one job makes
STAGES = ("prepare", "execute", "harvest", "view", "score")
Deed = Callable[[], None]

CALLS: dict[str, tuple[type, str, str]] = {
    "before the claim": (SqlWork, "claim", "before"),
    "after the claim": (SqlWork, "claim", "after"),
    "when the program has started": (StubExecutor, "launch", "after"),
    "when the program has ended": (StubExecutor, "wait", "after"),
    "before the output is published": (Claim, "publish", "before"),
    "when the output is published": (Claim, "publish", "after"),
    "before the score is in the store": (SqlWork, "succeed", "before"),
    "when the score is in the store": (SqlWork, "succeed", "after"),
    "when all is done but crossed out": (Traces, "cross_out", "before"),
}
POINTS = (*CALLS, *(f"before {stage}" for stage in STAGES))


def install(point: str, deed: str) -> None:
    """Have this process do ``deed`` (``kill``, ``stop``) to itself when it first comes to ``point``."""
    does = _once(signal.SIGKILL if deed == "kill" else signal.SIGSTOP)
    if point in CALLS:
        owner, name, when = CALLS[point]
        _wrap(owner, name, when, does)
    elif point.startswith("move "):
        _at_move(int(point.removeprefix("move ")), does)
    else:
        _at_stage(point.removeprefix("before "), does)


def _once(number: int) -> Deed:
    done: list[None] = []

    def does() -> None:
        if not done:
            done.append(None)
            os.kill(os.getpid(), number)

    return does


def _wrap(owner: type, name: str, when: str, does: Deed) -> None:
    inner = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            does()
        answer = inner(*args, **kwargs)
        if when == "after":
            does()
        return answer

    setattr(owner, name, wrapped)


def _at_stage(stage: str, does: Deed) -> None:
    inner = Stages.begin

    def begin(self: Stages, begun: str) -> None:
        if begun == stage:
            does()
        inner(self, begun)

    setattr(Stages, "begin", begin)  # noqa: B010 - mypy: a method is not to be assigned to


def _at_move(wanted: int, does: Deed) -> None:
    """Before the nth file or folder is moved to its place: every publishing there is, is a move."""
    count = [0]

    def counted(inner: Callable[..., Any]) -> Callable[..., Any]:
        def move(*args: Any) -> Any:
            count[0] += 1
            if count[0] == wanted:
                does()
            return inner(*args)

        return move

    for name in ("rename", "replace"):
        setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))
