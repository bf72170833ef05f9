"""Scorers of installed packages: the entry points of the group `autoscorer.scorers`.

    [project.entry-points."autoscorer.scorers"]
    my_metric = "my_package.scorers"

The entry point's name is the scorer's, its value the module that registers it. Only a child imports it;
its card is kept by the hash of the package's code until that changes.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from autoscorer.schemas.result import canonical_json
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.host import Code, Entry
from autoscorer.utils.artifacts import sha256_of, write_json
from autoscorer.utils.errors import AutoscorerError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "autoscorer.scorers"
LARGE_BYTES = 2**20
Describe = Callable[[Code, str], list[ScorerCard]]


def installed_names() -> dict[str, str]:
    """The names that entry points announce, and the package of each."""
    return {point.name: f"the installed package {_package(point)}" for point in _points()}


class InstalledScorers:
    """What installed packages offer. ``describe`` imports a module apart and gives its cards.

    Cards are kept in ``folder``; where that cannot be written they are asked for each time.
    """

    def __init__(self, folder: Path, describe: Describe) -> None:
        self._folder, self._describe = folder, describe
        self.failures: dict[str, AutoscorerError] = {}

    def find(self, name: str) -> Entry | None:
        """The scorer that ``name`` or ``name@sha256`` means. Raises SCORER_NOT_FOUND: it cannot be loaded."""
        wanted, _, sha256 = name.partition("@")
        for point in _points():
            if point.name == wanted:
                entry = self._entry(point)
                return entry if sha256 in ("", entry.card.sha256) else None
        return None

    def entries(self) -> list[Entry]:
        """All that can be loaded; why others cannot is in ``failures`` afterwards, by name."""
        return list(self._loadable())

    def _loadable(self) -> Iterator[Entry]:
        for point in _points():
            try:
                yield self._entry(point)
            except AutoscorerError as exc:
                self.failures[point.name] = exc

    def _entry(self, point: EntryPoint) -> Entry:
        code = Code(module=point.module)
        sha256 = _code_sha256(point)
        cards = self._known(point.module, sha256)
        if cards is None:
            cards = self._describe(code, sha256)
            self._keep(point.module, cards)
        for card in cards:
            if card.name == point.name:
                return Entry(card=card, code=code)
        told = f"{point.module} of {_package(point)} registers no scorer called {point.name!r}"
        raise AutoscorerError("SCORER_NOT_FOUND", told, {"scorer": point.name}, cause="unloadable")

    def _known(self, module: str, sha256: str) -> list[ScorerCard] | None:
        # What cannot be read, or was written by another version of ours, is asked for again.
        with suppress(OSError, ValueError, TypeError):
            cards = [ScorerCard(**card) for card in json.loads(self._path(module).read_bytes())]
            if all(card.sha256 == sha256 for card in cards):
                return cards
        return None

    def _keep(self, module: str, cards: list[ScorerCard]) -> None:
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_json(self._path(module), [card.model_dump(mode="json") for card in cards])

    def _path(self, module: str) -> Path:
        return self._folder / f"{module}.json"


def _points() -> list[EntryPoint]:
    from importlib.metadata import entry_points

    return list(entry_points(group=GROUP))


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "without a name"


def _files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _sha256_of(path: Path) -> str:
    """Each file is read at every look, but one of many bytes only when its state has changed."""
    status = path.stat()
    if path.suffix == ".py" or status.st_size < LARGE_BYTES:
        return sha256_of(path)
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return _large_sha256(path, state)


@functools.lru_cache(maxsize=1024)
def _large_sha256(path: Path, _state: tuple[int, ...]) -> str:
    return sha256_of(path)


def _code_sha256(point: EntryPoint) -> str:
    """Of all the package's files but caches and its version, found without importing any of it.

    A shared object and a table of weights are as much of a metric as its Python files.
    """
    import importlib.util

    top = point.module.partition(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        told = f"{point.module} of {_package(point)} is not there to be imported"
        raise AutoscorerError("SCORER_NOT_FOUND", told, {"scorer": point.name}, cause="unloadable")
    hashes = {"": _package(point)}
    for folder in map(Path, spec.submodule_search_locations or ()):
        hashes |= {path.relative_to(folder).as_posix(): _sha256_of(path) for path in _files_below(folder)}
    if spec.origin and not spec.submodule_search_locations:
        hashes[Path(spec.origin).name] = sha256_of(Path(spec.origin))
    return hashlib.sha256(canonical_json(hashes).encode()).hexdigest()
