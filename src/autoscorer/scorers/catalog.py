"""Which scorer a name means on this installation, and which host it computes on."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from autoscorer.schemas.scorer import Origin, ScorerCard
from autoscorer.scorers.base import BaseScorer, Scorer
from autoscorer.scorers.content import scorer_sha256
from autoscorer.scorers.host import Code, Entry, InProcess, IsStopped, ScorerHost, Scoring, never
from autoscorer.scorers.installed import InstalledScorers
from autoscorer.scorers.registry import ScorerRegistry, load_builtin, unknown_scorer
from autoscorer.utils.closing import Closing
from autoscorer.utils.errors import AutoscorerError

if TYPE_CHECKING:
    from autoscorer.scorers.child.host import ChildHost
    from autoscorer.scorers.library import Library

_DECLARED = ("task", "primary_metric", "higher_is_better", "score_range", "example")
_FILES = ("reference_files", "prediction_files")


class Catalog(Closing):
    """Names to scorers, and scorers to where they compute. Close it: hosts may have started processes.

    A name means the calling program's own scorer, else the one loaded from a file, else a built-in one,
    else that of an installed package. ``name@sha256`` means exactly that content.

    What is loaded here (the built-in scorers, the calling program's own) computes here, all else in the
    host that ``child`` makes at first use; with ``isolate`` everything does. Without ``library`` nothing
    was loaded from files, and no package is asked.
    """

    def __init__(
        self,
        child: Callable[[], ChildHost] | None = None,
        *,
        library: Callable[[], Library] | None = None,
        isolate: bool = False,
    ) -> None:
        self._in_process = InProcess()
        self._make_child, self._make_library = child, library
        self._isolate = isolate
        self._child: ChildHost | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """End what the hosts started. Safe to call twice."""
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.close()

    def find(self, name: str) -> Entry:
        """The scorer called ``name``. Raises AutoscorerError SCORER_NOT_FOUND with near names."""
        with self.held(name) as entry:
            return entry

    @contextmanager
    def held(self, name: str) -> Iterator[Entry]:
        """As `find`; a scorer loaded from a file stays as it is found until this ends, whatever follows."""
        here = _loaded_here(name)
        with ExitStack() as stack:
            found = here
            if self._make_library and not (here and here.card.origin == "process"):
                try:
                    found = stack.enter_context(self.library.held(name)) or here or self.installed.find(name)
                except AutoscorerError as exc:
                    # A name could mean another scorer in a store that cannot be read; a hash cannot.
                    if here is None or "@" not in name or exc.code == "SCORER_NOT_FOUND":
                        raise
            if found is None:
                raise unknown_scorer(name, {known for entry in self.entries() for known in _names(entry)})
            yield found

    def entries(self) -> list[Entry]:
        """Every scorer, by name; of packages those that can be loaded."""
        loaded = load_builtin()
        here = [_entry(loaded, name, loaded.get(name)) for name in loaded.names()]
        stored = self.library.entries() if self._make_library else []
        taken = {name for entry in stored for name in _names(entry)}
        found = {entry.card.name: entry for entry in (self.installed.entries() if self._make_library else ())}
        found |= {entry.card.name: entry for entry in here if entry.card.name not in taken}
        found |= {entry.card.name: entry for entry in stored}
        found |= {entry.card.name: entry for entry in here if entry.card.origin == "process"}
        return [found[name] for name in sorted(found)]

    @cached_property
    def library(self) -> Library:
        """The scorers that were loaded from files."""
        if self._make_library is None:
            raise TypeError("this catalogue was made without a library")
        return self._make_library()

    def files(self) -> tuple[int, int]:
        """How many scorers were loaded from files, and how many files failed when they were tried last."""
        if self._make_library is None:
            return 0, 0
        return len(self.library.names()), len(self.library.failures())

    @cached_property
    def installed(self) -> InstalledScorers:
        """The scorers of installed packages."""
        return InstalledScorers(
            self.library.cards_folder, lambda code, sha256: self.child().describe(code, sha256)
        )

    def check_params(
        self, entry: Entry, params: Mapping[str, Any], *, is_stopped: IsStopped = never
    ) -> dict[str, Any]:
        """``params`` complete. Raises CONFIG_VALIDATION_ERROR naming every faulty one."""
        return self._host(entry).check_params(entry, params, is_stopped=is_stopped)

    def check_params_here(self, entry: Entry, params: Mapping[str, Any]) -> None:
        """As `check_params` where the scorer is loaded in this process; of another nothing is said.

        Its code could take as long as it liked: it is asked when it is to score.
        """
        if entry.instance is not None:
            self._in_process.check_params(entry, params)

    def score(
        self, entry: Entry, view: Path, params: Mapping[str, Any], *, is_stopped: IsStopped = never
    ) -> Scoring:
        """The scorer's result for ``view``, from its host. Raises as `ScorerHost.score`."""
        return self._host(entry).score(entry, view, params, is_stopped=is_stopped)

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
        params_schema=_schema(model) if model else None,
    )


@functools.lru_cache(maxsize=256)
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    # Takes 0.15 ms, which every submission would pay.
    return model.model_json_schema()


def faults_in(error: ValidationError) -> str:
    """What is wrong with a card's declarations, in a line."""
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())


def _loaded_here(name: str) -> Entry | None:
    wanted, _, sha256 = name.partition("@")
    loaded = load_builtin()
    scorer = loaded.lookup(wanted)
    if scorer is None:
        return None
    entry = _entry(loaded, loaded.canonical(wanted), scorer)
    return entry if sha256 in ("", entry.card.sha256) else None


def _names(entry: Entry) -> tuple[str, ...]:
    return entry.card.name, *entry.card.aliases


def _entry(loaded: ScorerRegistry, name: str, scorer: Scorer) -> Entry:
    aliases = tuple(loaded.aliases_of(name))
    if type(scorer).__module__.startswith(f"{__package__}."):
        return _builtin_entry(scorer, name, aliases)  # type: ignore[arg-type]  # they are plain objects
    return _made_entry(scorer, name, aliases, origin="process")


@functools.lru_cache(maxsize=256)
def _builtin_entry(scorer: Scorer, name: str, aliases: tuple[str, ...]) -> Entry:
    # Ours never change; two entries took a tenth of a submission.
    return _made_entry(scorer, name, aliases, origin="builtin")


def _made_entry(scorer: Scorer, name: str, aliases: tuple[str, ...], *, origin: Origin) -> Entry:
    sha256 = scorer_sha256(scorer)
    try:
        card = card_of(scorer, name=name, origin=origin, sha256=sha256, aliases=aliases)
    except ValidationError as exc:
        told = f"the scorer {name} declares what cannot be right: {faults_in(exc)}"
        raise AutoscorerError("SCORER_NOT_FOUND", told, {"scorer": name}, cause="unloadable") from exc
    return Entry(card=card, code=Code(module=type(scorer).__module__), instance=scorer)
