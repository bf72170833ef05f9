"""Which scorers there are: names to instances. The built-in ones are found, not listed."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

from autoscorer.scorers.base import Scorer
from autoscorer.utils.errors import AutoscorerError

ScorerClass = TypeVar("ScorerClass", bound=type[Any])


class ScorerRegistry:
    """Names (and aliases) to scorer instances."""

    def __init__(self) -> None:
        self._scorers: dict[str, Scorer] = {}
        self._aliases: dict[str, str] = {}

    def register(self, name: str, *, aliases: tuple[str, ...] = ()) -> Callable[[ScorerClass], ScorerClass]:
        """Class decorator: make one instance known as ``name`` and under ``aliases``.

        Raises AutoscorerError (SCORER_NOT_FOUND: it cannot be loaded) for a class that is no scorer.
        """

        def decorate(cls: ScorerClass) -> ScorerClass:
            scorer = cls()
            if not isinstance(scorer, Scorer) or not scorer.name or not scorer.version:
                raise AutoscorerError(
                    "SCORER_NOT_FOUND",
                    f"class {cls.__name__} registered as {name!r} is not a scorer: it needs name, version "
                    "and score(workspace, params)",
                )
            self._scorers[name] = scorer
            self._aliases.update(dict.fromkeys(aliases, name))
            return cls

        return decorate

    def get(self, name: str) -> Scorer:
        """The scorer called ``name``. Raises AutoscorerError SCORER_NOT_FOUND with near names."""
        scorer = self._scorers.get(self.canonical(name))
        if scorer is None:
            known = sorted({*self._scorers, *self._aliases})
            near = difflib.get_close_matches(name, known, n=1)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise AutoscorerError(
                "SCORER_NOT_FOUND",
                f"no scorer is called {name!r}.{guess} Known: {', '.join(known)}",
                {"scorer": name, "known": known},
            )
        return scorer

    def names(self) -> list[str]:
        """Registered names in order, without aliases."""
        return sorted(self._scorers)

    def aliases_of(self, name: str) -> list[str]:
        return sorted(alias for alias, target in self._aliases.items() if target == name)

    def canonical(self, name: str) -> str:
        """The name that ``name``, perhaps an alias, stands for."""
        return self._aliases.get(name, name)


registry = ScorerRegistry()
register = registry.register


def load_builtin() -> ScorerRegistry:
    """The registry with every module of this package imported; a scorer is one file here."""
    package = importlib.import_module(__package__)
    for module in pkgutil.iter_modules(package.__path__):
        if not module.ispkg:
            importlib.import_module(f"{__package__}.{module.name}")
    return registry


def get_scorer(name: str) -> Scorer:
    """The scorer instance registered as ``name``; raises AutoscorerError SCORER_NOT_FOUND."""
    return load_builtin().get(name)
