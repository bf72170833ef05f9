"""The request under way: its id, when it began, how much of a body it may bring."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class CurrentRequest:
    """What guards, routes and answers share. A route that takes more than others raises its ``body_limit``
    before it reads the body."""

    request_id: str
    body_limit: int
    started_s: float = field(default_factory=time.perf_counter)

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self.started_s


_CURRENT: ContextVar[CurrentRequest] = ContextVar("current_request")


def begin(request: CurrentRequest) -> None:
    """Make ``request`` the one that this task, and the threads it asks, are about."""
    _CURRENT.set(request)


def current() -> CurrentRequest:
    """The request under way. Raises LookupError outside of one."""
    return _CURRENT.get()
