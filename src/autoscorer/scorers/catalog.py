"""Which scorer a name means on this installation, and which host it computes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from autoscorer.schemas.scorer import Origin, ScorerCard
from autoscorer.scorers.base import BaseScorer, Scorer
from autoscorer.scorers.content import scorer_sha256
from autoscorer.scorers.host import Code, Entry, InProcess, ScorerHost, Scoring
from autoscorer.scorers.registry import ScorerRegistry, load_builtin

if TYPE_CHECKING:
    from autoscorer.scorers.child.host import ChildHost

_DECLARED = ("task", "primary_metric", "higher_is_better", "score_range", "example")
_FILES = ("reference_files", "prediction_files")


class Catalog:
    """Names to scorers, and scorers to where they compute. Close it: hosts may have started processes.

    What is loaded here (the built-in scorers, the calling program's own) computes here, all else in the
    host that ``child`` makes at first use; with ``isolate`` everything does.
    """

    def __init__(self, child: Callable[[], ChildHost] | None = None, *, isolate: bool = False) -> None:
        self._in_process = InProcess()
        self._make_child = child
        self._isolate = isolate
        self._child: ChildHost | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End what the hosts started. Safe to call twice."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.close()

    def find(self, name: str) -> Entry:
        """The scorer called ``name``. Raises AutoscorerError SCORER_NOT_FOUND with near names."""
        loaded = load_builtin()
        return _entry(loaded, loaded.canonical(name), loaded.get(name))

    def entries(self) -> list[Entry]:
        """Every scorer, by name."""
        loaded = load_builtin()
        return [_entry(loaded, name, loaded.get(name)) for name in loaded.names()]

    def check_params(self, entry: Entry, params: Mapping[str, Any]) -> dict[str, Any]:
        """``params`` complete. Raises CONFIG_VALIDATION_ERROR naming every faulty one."""
        return self._host(entry).check_params(entry, params)

    def score(self, entry: Entry, view: Path, params: Mapping[str, Any]) -> Scoring:
        """The scorer's result for ``view``, from its host. Raises as `ScorerHost.score`."""
        return self._host(entry).score(entry, view, params)

    def computes_apart(self, entry: Entry) -> bool:
        """Whether the scorer computes in a process apart."""
        return self._isolate or entry.instance is None

    def _host(self, entry: Entry) -> ScorerHost:
        return self.child() if self.computes_apart(entry) else self._in_process

    def child(self) -> ChildHost:
        """The host of scorers in processes apart, the same at every call."""
        if self._make_child is None:
            raise TypeError("this catalogue was made without a child")
        with self._lock:
            if self._child is None:
                self._child = self._make_child()
            return self._child


def card_of(
    scorer: Scorer, *, name: str, origin: Origin, sha256: str, aliases: tuple[str, ...] = ()
) -> ScorerCard:
    """The card of a scorer that is loaded here. Raises pydantic's ValidationError for odd declarations."""
    model = getattr(scorer, "params_model", None)
    return ScorerCard(
        name=name,
        version=scorer.version,
        sha256=sha256,
        origin=origin,
        aliases=aliases,
        **{key: getattr(scorer, key, None) for key in _DECLARED},
        **{key: getattr(scorer, key, getattr(BaseScorer, key)) for key in _FILES},
        params_schema=model.model_json_schema() if model else None,
    )


def _entry(loaded: ScorerRegistry, name: str, scorer: Scorer) -> Entry:
    module = type(scorer).__module__
    origin: Origin = "builtin" if module.startswith(f"{__package__}.") else "process"
    aliases = tuple(loaded.aliases_of(name))
    card = card_of(scorer, name=name, origin=origin, sha256=scorer_sha256(scorer), aliases=aliases)
    return Entry(card=card, code=Code(module=module), instance=scorer)
