"""Another try, with back-off, for transient faults of engine, registry and API; never for a participant's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from autoscorer.utils.errors import AutoscorerError, Blame

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class BackOff:
    """How often and how long: waits grow from ``first_wait_s`` twofold to ``longest_wait_s``, with jitter.

    No further try begins after ``budget_s`` seconds.
    """

    tries: int = 4
    first_wait_s: float = 0.5
    longest_wait_s: float = 8.0
    budget_s: float = 60.0


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed by itself: only the platform's own retryable failures."""
    return isinstance(error, AutoscorerError) and error.retryable and error.blame is Blame.PLATFORM


def retry_transient(
    call: Callable[[], T],
    *,
    back_off: BackOff,
    on_retry: Callable[[AutoscorerError, int, float], None] = lambda _error, _tries, _wait_s: None,
    sleep: Callable[[float], None] = time.sleep,
    is_worth: Callable[[BaseException], bool] = is_transient,
    asked_wait_s: Callable[[AutoscorerError], float | None] = lambda _error: None,
) -> T:
    """What ``call`` returns, tried again while it fails by a fault that ``is_worth`` it.

    ``on_retry(error, tries_so_far, wait_s)`` is told before each wait; what it raises ends the tries.
    ``asked_wait_s`` is how long the other side itself asks to wait, if it does; no try begins sooner.
    Raises the last error as it is, ``details.tries`` added when there was more than one.
    """
    import tenacity

    def tell(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, AutoscorerError):
            on_retry(error, state.attempt_number, state.upcoming_sleep)

    grown = tenacity.wait_exponential(
        multiplier=back_off.first_wait_s, max=back_off.longest_wait_s
    ) + tenacity.wait_random(0, back_off.first_wait_s)

    def wait_s(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = asked_wait_s(error) if isinstance(error, AutoscorerError) else None
        return max(grown(state), asked or 0.0)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_worth),
        stop=tenacity.stop_after_attempt(back_off.tries) | tenacity.stop_before_delay(back_off.budget_s),
        wait=wait_s,
        before_sleep=tell,
        sleep=sleep,
        reraise=True,
    )
    try:
        return retrying(call)
    except AutoscorerError as exc:
        tries = retrying.statistics.get("attempt_number", 1)
        if tries > 1:
            exc.details.setdefault("tries", tries)
        raise
