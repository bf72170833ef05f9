"""Answers that last: so many at once for one token, none that holds a thread while it waits."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from autoscorer.utils.errors import AutoscorerError

PER_TOKEN, IN_ALL = 16, 512
LONGEST_S = 3600.0  # who goes on after that asks again, with a token that is looked at again
SIGN_OF_LIFE_S = 15.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
_RETRY_AFTER_S = 5

Found = TypeVar("Found")


class Streams:
    """Counts the answers under way that last. Safe to use from several threads."""

    def __init__(self, *, per_token: int = PER_TOKEN, in_all: int = IN_ALL) -> None:
        self._per_token, self._in_all = per_token, in_all
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._open.total()

    @contextmanager
    def held(self, token_id: str) -> Iterator[None]:
        """One more of that token's. Raises RATE_LIMITED when it has as many as it may, or all have."""
        with self._lock:
            if self._open[token_id] >= self._per_token or self._open.total() >= self._in_all:
                raise _too_many(self._per_token)
            self._open[token_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._open[token_id] -= 1
                if not self._open[token_id]:
                    del self._open[token_id]


class HeldStream(StreamingResponse):
    """A stream that lets go of what it holds when it ends, however that is, or if it never begins."""

    def __init__(
        self,
        content: AsyncIterator[bytes],
        *,
        held: ExitStack,
        status: int = 200,
        headers: dict[str, str] | None = None,
        media_type: str,
    ) -> None:
        super().__init__(content, status_code=status, headers=headers, media_type=media_type)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] == "HEAD":
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                await send({"type": "http.response.body", "body": b""})
            else:
                await super().__call__(scope, receive, send)
        finally:
            self._held.close()


class Pace:
    """How long to wait for news: soon after some, then ever less often; and when a stream is to end."""

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        self._is_stopping = is_stopping
        self._began_s = self._told_s = time.monotonic()
        self._pause_s = FIRST_PAUSE_S

    @property
    def is_over(self) -> bool:
        """Whether to end here: the service stops, or the stream is old. Whoever follows asks again."""
        return self._is_stopping() or time.monotonic() - self._began_s > LONGEST_S

    def told(self) -> None:
        """Something was sent."""
        self._told_s, self._pause_s = time.monotonic(), FIRST_PAUSE_S

    @property
    def needs_sign_of_life(self) -> bool:
        return time.monotonic() - self._told_s > SIGN_OF_LIFE_S

    def signed(self) -> None:
        """A sign of life was sent."""
        self._told_s = time.monotonic()

    async def wait(self) -> None:
        await anyio.sleep(self._pause_s)
        self._pause_s = min(1.5 * self._pause_s, LONGEST_PAUSE_S)


async def in_thread(call: Callable[[], Found]) -> Found:
    """What ``call`` gives; it may wait for a disk or a database, and the others go on meanwhile."""
    return await run_sync(call)


def _too_many(limit: int) -> AutoscorerError:
    message = f"Too many streams and uploads at once; a token may have {limit}."
    return AutoscorerError("RATE_LIMITED", message, {"retry_after_s": _RETRY_AFTER_S, "limit": limit})
