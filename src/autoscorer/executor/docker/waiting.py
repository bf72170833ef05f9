"""Until a container has ended: its output pumped, its deadline kept, a gap of the engine noticed."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from autoscorer.executor.base import StopReason
from autoscorer.executor.docker import containers
from autoscorer.executor.docker.containers import ContainerState, EngineSilentError
from autoscorer.executor.docker.logs import AttachedStream, ContainerLog
from autoscorer.executor.docker.usage import UsageMeter
from autoscorer.utils.errors import AutoscorerError

TERMINATE_GRACE_S = 2.0
ENGINE_GRACE_S = 10.0
TICK_S = 0.05
ASK_INTERVAL_S = 0.2
CLOSING_INTERVAL_S = 0.01  # its output has ended, so it will have too, unless it closed it itself
CLOSING_ASKS = 20
DRAIN_S = 2.0

Check = Callable[[], StopReason | None]


@dataclass(frozen=True, kw_only=True)
class ContainerEnd:
    """How it ended. ``state`` is the engine's last word, None if there was none after ``gap``.

    ``gap`` says why the engine cannot be believed: it was away, or the container is gone from it.
    """

    state: ContainerState | None
    stopped: StopReason | None
    gap: str | None
    duration_s: float


class Vigil:
    """One container watched to its end. Every call of the engine is on a new connection and bounded.

    An engine that shuts down closes its door first and ends its containers then; so an end that was
    told over a new connection was not the engine's doing.
    """

    def __init__(
        self,
        container: containers.Container,
        stream: AttachedStream,
        log: ContainerLog,
        meter: UsageMeter | None,
        *,
        started_at: float,
        time_limit_s: float,
    ) -> None:
        self._container = container
        self._stream = stream
        self._log = log
        self._meter = meter
        self._started_at = started_at
        self._deadline = started_at + time_limit_s
        self._state: ContainerState | None = None
        self._state_at = 0.0
        self._stopped: StopReason | None = None
        self._kill_at = self._give_up_at = float("inf")
        self._silent_since: float | None = None
        self._engine_was_gone = False
        self._next_ask_at = 0.0
        self._asks_after_end = 0

    @property
    def stream(self) -> AttachedStream:
        """The stream in use; another one after a gap that the container outlived."""
        return self._stream

    def watch(self, checks: Sequence[Check], *, at_once: Container[StopReason] = ()) -> ContainerEnd:
        """``checks`` are asked several times a second; the first reason one gives ends the container.

        SIGTERM and, `TERMINATE_GRACE_S` later, SIGKILL; without the grace if it is in ``at_once``.
        """
        while True:
            self._pump()
            gap = self._ask()
            now = time.monotonic()
            if gap is not None or (self._state is not None and not self._state.running):
                return self._end(gap)
            if now >= self._give_up_at:
                return self._end(None)
            if self._stopped is None:
                self._stop_for(self._first_reason(checks), at_once)
            elif now >= self._kill_at:
                self._kill_at = float("inf")
                self._give_up_at = now + ENGINE_GRACE_S
                self._send("SIGKILL")

    def _pump(self) -> None:
        if self._stream.ended:
            # Nothing to wait on but the clock; `watch` asks for the state often at first.
            time.sleep(min(TICK_S, max(0.001, self._next_ask_at - time.monotonic())))
        else:
            self._log.take(self._stream, TICK_S)
        if self._meter is not None:
            self._meter.sample()

    def _ask(self) -> str | None:
        """Ask for the state if it is time to; why the engine cannot be believed any more, if so."""
        if not self._is_due():
            return None
        try:
            asked_at = time.monotonic()
            self._state, self._state_at = self._container.state(), asked_at
        except LookupError:
            return "the container was removed"
        except EngineSilentError as exc:
            return self._note_silence(exc)
        finally:
            self._next_ask_at = time.monotonic() + self._pause()
        self._silent_since = None
        if not self._engine_was_gone:
            return None
        if not self._state.running:
            return "the engine was away when the container ended"
        return self._attach_again()

    def _is_due(self) -> bool:
        now = time.monotonic()
        limit = self._deadline if self._stopped is None else self._kill_at
        just_closed = self._stream.ended and self._asks_after_end == 0
        return now >= min(self._next_ask_at, limit) or just_closed

    def _pause(self) -> float:
        if not self._stream.ended:
            return ASK_INTERVAL_S
        self._asks_after_end += 1
        return CLOSING_INTERVAL_S if self._asks_after_end <= CLOSING_ASKS else ASK_INTERVAL_S

    def _note_silence(self, exc: EngineSilentError) -> str | None:
        """An engine that hangs may come back and know what happened; one that was gone may not."""
        now = time.monotonic()
        self._state = None
        self._engine_was_gone |= not exc.hung
        if self._silent_since is None:
            self._silent_since = now - (containers.ASK_TIMEOUT_S if exc.hung else 0.0)
        if now - self._silent_since < ENGINE_GRACE_S:
            return None
        return "the engine does not answer" if exc.hung else "the engine is gone"

    def _attach_again(self) -> str | None:
        """The engine came back and the container lives: what it prints from now on is kept."""
        self._engine_was_gone = False
        try:
            stream = self._container.attach()
        except AutoscorerError:
            self._engine_was_gone = True
            return None
        self._stream.close()
        self._stream = stream
        self._asks_after_end = 0
        self._log.start_over()
        return None

    def _first_reason(self, checks: Sequence[Check]) -> StopReason | None:
        reason = next((found for check in checks if (found := check()) is not None), None)
        # Only a container that was seen running after its deadline is late: the engine may be away.
        if reason is None and self._state is not None and self._state_at >= self._deadline:
            return StopReason.TIME_LIMIT
        return reason

    def _stop_for(self, reason: StopReason | None, at_once: Container[StopReason]) -> None:
        if reason is None:
            return
        self._stopped = reason
        self._kill_at = time.monotonic()
        if reason not in at_once:
            self._kill_at += TERMINATE_GRACE_S
            self._send("SIGTERM")

    def _send(self, name: containers.Signal) -> None:
        try:
            self._container.send(name)
        except EngineSilentError as exc:
            self._note_silence(exc)

    def _end(self, gap: str | None) -> ContainerEnd:
        duration_s = time.monotonic() - self._started_at
        until = time.monotonic() + DRAIN_S
        while gap is None and not self._stream.ended and time.monotonic() < until:
            self._log.take(self._stream, TICK_S)
        return ContainerEnd(state=self._state, stopped=self._stopped, gap=gap, duration_s=duration_s)
