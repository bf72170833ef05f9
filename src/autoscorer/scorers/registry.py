"""Which scorers this process has: names to instances. The built-in ones are found, not listed."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autoscorer.scorers.base import Scorer
from autoscorer.utils.errors import AutoscorerError

if TYPE_CHECKING:
    from autoscorer.schemas.scorer import ScorerCard
    from autoscorer.scorers.library import Library
    from autoscorer.scorers.library.watching import Event, Watching

ScorerClass = TypeVar("ScorerClass", bound=type[Any])
NAME_FORM = "letters, digits, `_`, `-` and `.`, at most 64, the first a letter, a digit or `_`"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


class ScorerRegistry:
    """Names (and aliases) to scorer instances. A name means one scorer until it is replaced by word."""

    def __init__(self) -> None:
        self._scorers: dict[str, Scorer] = {}
        self._aliases: dict[str, str] = {}

    def register(
        self, name: str, *, aliases: tuple[str, ...] = (), replace: bool = False
    ) -> Callable[[ScorerClass], ScorerClass]:
        """Class decorator: make one instance known as ``name`` and under ``aliases``.

        The same class may come again (its module reloaded, its cell run again). Raises AutoscorerError
        SCORER_NOT_FOUND: the class is no scorer, its own ``name`` would not find it, or, unless
        ``replace``, another scorer has one of the names.
        """

        def decorate(cls: ScorerClass) -> ScorerClass:
            scorer = _made(cls, name, aliases)
            if not replace:
                for wanted in (name, *aliases):
                    self._check_free(wanted, name, cls)
            for taken in (name, *aliases):
                self._scorers.pop(taken, None)
                self._aliases.pop(taken, None)
            self._scorers[name] = scorer
            self._aliases.update(dict.fromkeys(aliases, name))
            return cls

        return decorate

    def get(self, name: str) -> Scorer:
        """The scorer called ``name``. Raises AutoscorerError SCORER_NOT_FOUND with near names."""
        scorer = self.lookup(name)
        if scorer is None:
            raise unknown_scorer(name, {*self._scorers, *self._aliases})
        return scorer

    def lookup(self, name: str) -> Scorer | None:
        """The scorer called ``name``, None if there is none."""
        return self._scorers.get(self.canonical(name))

    def names(self) -> list[str]:
        """Registered names in order, without aliases."""
        return sorted(self._scorers)

    def aliases_of(self, name: str) -> list[str]:
        return sorted(alias for alias, target in self._aliases.items() if target == name)

    def canonical(self, name: str) -> str:
        """The name that ``name``, perhaps an alias, stands for."""
        return self._aliases.get(name, name)

    def load_from_file(self, path: str | Path, *, replace: bool = False) -> list[ScorerCard]:
        """Load the scorers of a file or a package folder on this installation, for all its processes.

        A copy is kept and checked in a process apart; nothing is imported here. Until it has passed, what
        was loaded before goes on serving. Raises AutoscorerError SCORER_NOT_FOUND.
        """
        return _open_library().load(path, replace=replace).cards

    def start_watching(
        self, path: str | Path, tell: Callable[[Event], None] = lambda _event: None
    ) -> Watching:
        """Load what is at ``path``, a file or a folder of scorers, and again whenever it changes.

        Ends with ``stop()`` of what is returned, or as a context manager. ``tell`` hears, in the watching
        thread, of every load and every failure. Raises AutoscorerError SCORER_NOT_FOUND.
        """
        from autoscorer.scorers.library.watching import Watching

        return Watching(_open_library(), path, tell)

    @contextmanager
    def recording(self) -> Iterator[ScorerRegistry]:
        """What is registered meanwhile is kept apart, in the registry that is given; no name is in use there.

        For the process that looks into a scorer's file: what the file calls its scorers is no matter
        of who else is loaded.
        """
        apart, before = ScorerRegistry(), (self._scorers, self._aliases)
        self._scorers, self._aliases = apart._scorers, apart._aliases
        try:
            yield apart
        finally:
            self._scorers, self._aliases = before

    def _check_free(self, wanted: str, name: str, cls: type[Any]) -> None:
        holder = self.lookup(wanted)
        same_class = holder is not None and _identity(type(holder)) == _identity(cls)
        if holder is None or (same_class and self.canonical(wanted) == name):
            return
        raise AutoscorerError(
            "SCORER_NOT_FOUND",
            f"{wanted!r} is the name of another scorer ({type(holder).__qualname__} of "
            f"{type(holder).__module__}); choose another, or say @register({name!r}, …, replace=True)",
            {"scorer": wanted},
            cause="name_taken",
        )


def _open_library() -> Library:
    from autoscorer.scorers.library.opening import open_library
    from autoscorer.utils.config import Config

    return open_library(Config().settings)


def is_name(text: str) -> bool:
    """Whether a scorer may be called so."""
    return _NAME.fullmatch(text) is not None


def unknown_scorer(name: str, known: set[str]) -> AutoscorerError:
    """SCORER_NOT_FOUND for ``name``, with the nearest of the ``known`` names."""
    wanted, _, sha256 = name.partition("@")
    listed = sorted(known)
    if sha256 and wanted in known:
        message = (
            f"{wanted} has no such version; `autoscorer scorers versions {wanted}` lists those that are kept"
        )
    else:
        near = difflib.get_close_matches(wanted, known, n=1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        message = f"no scorer is called {name!r}.{guess} Known: {', '.join(listed)}"
    return AutoscorerError("SCORER_NOT_FOUND", message, {"scorer": name, "known": listed})


def _made(cls: type[Any], name: str, aliases: tuple[str, ...]) -> Scorer:
    """An instance of ``cls``, which is a scorer whose results carry a name that finds it."""
    scorer: Any = cls()
    problem = ""
    if not isinstance(scorer, Scorer) or not scorer.name or not scorer.version:
        problem = "is not a scorer: it needs name, version and score(workspace, params)"
    elif odd := [each for each in (name, *aliases) if not is_name(each)]:
        problem = f"has a name that cannot be used, {odd[0][:80]!r}: {NAME_FORM}"
    elif scorer.name not in (name, *aliases):
        problem = (
            f"calls itself {scorer.name!r}: write @register({scorer.name!r}), "
            f"or @register({name!r}, aliases=({scorer.name!r},))"
        )
    if problem:
        message = f"class {cls.__name__} registered as {name[:80]!r} {problem}"
        raise AutoscorerError("SCORER_NOT_FOUND", message, cause="unloadable")
    found: Scorer = scorer
    return found


def _identity(cls: type[Any]) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


registry = ScorerRegistry()
register = registry.register


def load_builtin() -> ScorerRegistry:
    """The registry with every module of this package imported; a scorer is one file here."""
    _import_builtin()
    return registry


@functools.cache
def _import_builtin() -> None:
    package = importlib.import_module(__package__)
    for module in pkgutil.iter_modules(package.__path__):
        if not module.ispkg:
            importlib.import_module(f"{__package__}.{module.name}")


def get_scorer(name: str) -> Scorer:
    """The scorer called ``name``: the instance registered here, else one that computes in a process apart.

    Raises AutoscorerError SCORER_NOT_FOUND with near names.
    """
    here = load_builtin().lookup(name)
    if here is not None:
        return here
    from autoscorer.scorers.apart import ScorerApart
    from autoscorer.scorers.library.opening import open_catalog
    from autoscorer.utils.config import Config

    with open_catalog(Config().settings) as catalog:
        return ScorerApart(catalog.find(name).card)
