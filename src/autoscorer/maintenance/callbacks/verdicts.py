"""What follows from a receiver's answer: delivered, again later, or given up. Pure functions."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Seconds until the next try, after the first, the second, …: the schedule Standard Webhooks proposes.
DELAYS_S = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
_LONGEST_S = float(DELAYS_S[-1])
_GONE = 410
_LATER = (429, 503)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of sending: the receiver's status, or ``problem`` in words when there is none."""

    status: int | None = None
    retry_after: str | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``message`` says why it did not arrive; ``retry_in_s`` absent then means that it never will."""

    delivered: bool
    message: str = ""
    retry_in_s: float | None = None


def judge(
    answer: Answer, *, tries: int, now: datetime, jitter: Callable[[], float] = random.random
) -> Verdict:
    """What follows after ``tries`` tries, this one counted.

    A wait the receiver asks for is kept when it is longer than ours, up to a day. Up to a fifth is added
    to each wait, so that what failed together is not tried together.
    """
    if answer.status is not None and 200 <= answer.status < 300:
        return Verdict(delivered=True)
    message = _words(answer)
    if answer.status == _GONE or tries > len(DELAYS_S):
        return Verdict(delivered=False, message=message)
    asked_s = _asked_s(answer.retry_after, now) if answer.status in _LATER else 0.0
    wait_s = max(float(DELAYS_S[tries - 1]), min(asked_s, _LONGEST_S))
    return Verdict(delivered=False, message=message, retry_in_s=wait_s * (1 + jitter() / 5))


def _words(answer: Answer) -> str:
    if answer.status is None:
        return answer.problem
    if 300 <= answer.status < 400:
        return f"the receiver answered HTTP {answer.status}; redirects are not followed"
    if answer.status == _GONE:
        return "the receiver answered HTTP 410: it wants no more of this"
    return f"the receiver answered HTTP {answer.status}"


def _asked_s(retry_after: str | None, now: datetime) -> float:
    """Seconds that ``Retry-After`` asks for, as a number or a date; 0 for anything else."""
    text = (retry_after or "").strip()[:100]
    if text.isascii() and text.isdecimal():
        return min(float(text), _LONGEST_S)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter: a time zone a million years off
        return 0.0
    return max(0.0, ((until if until.tzinfo else until.replace(tzinfo=UTC)) - now).total_seconds())
