"""Where a scorer computes: the seam between the platform and a scorer's code.

A host takes a scorer, a view and parameters and gives back a checked result. `InProcess` calls it
here; the child does it apart. Whoever scores knows cards and hosts, never the scorer itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from autoscorer.schemas.result import Result
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.base import Scorer
from autoscorer.scorers.invoke import check_params, invoke

IsStopped = Callable[[], bool]


def never() -> bool:
    """The scorer is let run to its end."""
    return False


@dataclass(frozen=True, kw_only=True)
class Code:
    """Where a scorer's code is, so that any process of this machine can import it.

    Either an importable ``module`` (a built-in scorer's, an installed package's), or a ``path`` in the
    content store: a `.py` file, or a package folder.
    """

    module: str | None = None
    path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A scorer that was found: its card, where its code is, and the object where it is loaded here."""

    card: ScorerCard
    code: Code
    instance: Scorer | None = None


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """What a host gives back. ``params`` are complete, ``seconds`` is the scorer's own time.

    ``resources`` is what the scorer used (``scorer_peak_memory_bytes``, ``scorer_cpu_seconds``) where it
    was measured; ``isolation`` says behind which walls it computed.
    """

    result: Result
    params: dict[str, Any]
    seconds: float
    resources: Mapping[str, float | int] = field(default_factory=dict)
    isolation: Mapping[str, Any] = field(default_factory=lambda: {"mode": "in_process"})


class ScorerHost(Protocol):
    """Runs scorers on views."""

    def check_params(
        self, entry: Entry, params: Mapping[str, Any], *, is_stopped: IsStopped = never
    ) -> dict[str, Any]:
        """``params`` complete. Raises CONFIG_VALIDATION_ERROR naming every faulty one, and as `score`."""
        ...

    def score(
        self, entry: Entry, view: Path, params: Mapping[str, Any], *, is_stopped: IsStopped = never
    ) -> Scoring:
        """The scorer's result for ``view``. Raises AutoscorerError, blamed as `invoke` says.

        ``is_stopped`` is asked several times a second where a scorer can be ended: CANCELLED.
        """
        ...


class InProcess:
    """Calls the scorer in this process: for built-in scorers and for the calling program's own."""

    def check_params(
        self, entry: Entry, params: Mapping[str, Any], *, is_stopped: IsStopped = never
    ) -> dict[str, Any]:
        return check_params(_loaded(entry), dict(params))

    def score(
        self, entry: Entry, view: Path, params: Mapping[str, Any], *, is_stopped: IsStopped = never
    ) -> Scoring:
        scorer = _loaded(entry)
        complete = check_params(scorer, dict(params))
        started = time.perf_counter()
        result = invoke(scorer, view, complete)
        return Scoring(result=result, params=complete, seconds=time.perf_counter() - started)


def _loaded(entry: Entry) -> Scorer:
    if entry.instance is None:
        raise TypeError(f"{entry.card.name} is not loaded in this process")
    return entry.instance
