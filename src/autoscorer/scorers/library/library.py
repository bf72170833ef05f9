"""Loading a scorer: copy by content, check the copy, swap the pointer; until then the last good serves."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from autoscorer.schemas.envelope import iso_now
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.host import Code
from autoscorer.scorers.library.index import Failure, Index, Source, check_ours
from autoscorer.scorers.library.lookup import Lookup
from autoscorer.scorers.library.names import check_names, conflicts, forget, old_versions, point, refuse
from autoscorer.scorers.library.sources import (
    Content,
    check_folder,
    may_be_source,
    read_source,
    source_path,
    unloadable,
)
from autoscorer.utils.errors import AutoscorerError, Blame

Check = Callable[[Code, str], list[ScorerCard]]
Needed = Callable[[Collection[str]], Collection[str]]
_LONGEST_MODULE = 60


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a load did.

    ``replaced`` are the names it took, and from whom. ``left`` are names of the file's that it declares
    no more; they go on meaning their last content until they are unloaded.
    """

    cards: list[ScorerCard]
    replaced: Mapping[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()


def all_of_them(pins: Collection[str]) -> Collection[str]:
    """Every version is needed: for whoever does not know which jobs there are."""
    return pins


class Library(Lookup):
    """The stored scorers of one installation, shared by all its processes, and how they are loaded.

    ``check`` imports a copy apart and gives the cards of what it registers; ``reserved`` are the names
    of scorers outside the store, each with a word on who has it. ``needed`` is asked which of some old
    versions (``name@sha256``) jobs may still come for. What lies in ``scorers_dir`` is loaded only if
    nobody else can put files there.
    """

    def __init__(
        self,
        data_dir: Path,
        check: Check,
        *,
        reserved: Callable[[], Mapping[str, str]] = dict,
        needed: Needed = all_of_them,
        scorers_dir: Path | None = None,
    ) -> None:
        super().__init__(data_dir)
        self._scorers_dir = scorers_dir
        self._check, self._reserved, self._needed = check, reserved, needed

    def load(self, path: str | Path, *, replace: bool = False) -> Loaded:
        """Load the scorers of a file or a package folder.

        Raises AutoscorerError SCORER_NOT_FOUND (unloadable, refused, name_taken, or the code of a failed
        check); then what was loaded before goes on serving, and the failure is kept for `failures`.
        """
        source = source_path(path)
        self._make_folders()
        with self._index.loading(source):
            return self._load(source, replace=replace)

    def reload(self, target: str | Path, *, replace: bool = False) -> Loaded:
        """Load again the file that ``target``, a name or a path, was loaded from. Raises as `load`."""
        return self.load(self.source_of(target), replace=replace)

    def refresh(self, path: str | Path, *, again: bool = False) -> Loaded | None:
        """Load a source if its content is not that of the latest try, or ``again`` if that failed.

        None when there is nothing to do. Raises as `load`.
        """
        source = source_path(path)
        self._make_folders()
        with self._index.loading(source):
            known = self._index.read().sources.get(str(source), Source())
            if known.tried is not None and not (again and known.failure):
                with self._failures_kept(source):
                    if read_source(source).sha256 == known.tried:
                        return None
            return self._load(source, replace=False)

    def unload(self, name: str) -> ScorerCard:
        """Let ``name`` mean nothing; what it meant is still found as ``name@sha256``.

        Raises AutoscorerError SCORER_NOT_FOUND.
        """
        entry = self.find(name)
        if entry is None:
            known = self._index.read().serving()
            message = f"no loaded scorer is called {name!r}; loaded: {', '.join(sorted(known)) or 'none'}"
            raise AutoscorerError("SCORER_NOT_FOUND", message, {"scorer": name, "known": sorted(known)})
        with self._index.changing() as index:
            index.names[entry.card.name].current = None
        return entry.card

    def collect_garbage(self) -> list[str]:
        """Remove contents that are old, not needed and not in use; gives their hashes.

        Every load does so; what is left to do comes from jobs and scores that ended since.
        """
        self._make_folders()
        with self._index.locked() as index:
            return self._collect(index)

    def _load(self, source: Path, *, replace: bool) -> Loaded:
        content: Content | None = None
        try:
            str(source).encode()
            if self._scorers_dir and os.path.realpath(source.parent) == os.path.realpath(self._scorers_dir):
                check_folder(source.parent)
            content = read_source(source)
            with self._staged(content) as folder:
                cards = self._check(self._shelf.code(folder), content.sha256)
                return self._shelve(source, folder, cards, sha256=content.sha256, replace=replace)
        except UnicodeEncodeError:
            raise unloadable(Path("the file"), "has a name that is no UTF-8") from None
        except AutoscorerError as exc:
            error = _with_missing_neighbour(exc, source)
            self._note(source, error, content)
            raise error from exc.__cause__
        except OSError as exc:
            raise _cannot_keep(exc) from exc

    @contextmanager
    def _failures_kept(self, source: Path) -> Iterator[None]:
        try:
            yield
        except AutoscorerError as exc:
            self._note(source, exc, None)
            raise

    @contextmanager
    def _staged(self, content: Content) -> Iterator[Path]:
        staged = self._shelf.staged(content)
        with self._index.locked():
            folder = staged.__enter__()
        try:
            yield folder
        finally:
            staged.__exit__(None, None, None)

    def _shelve(
        self, source: Path, folder: Path, cards: list[ScorerCard], *, sha256: str, replace: bool
    ) -> Loaded:
        """Swap the pointers to a content that passed. Raises name_taken."""
        check_names(cards, str(source))
        reserved = self._reserved()
        with self._index.locked() as index:
            taken = conflicts(index, cards, str(source), reserved)
            if taken and not replace:
                raise refuse(taken, str(source))
            self._shelf.shelve(folder, sha256, cards)
            point(index, cards, str(source), loaded_at=iso_now())
            index.sources[str(source)] = Source(tried=sha256)
            self._collect(index)
            names = {card.name for card in cards}
            left = (name for name, entry in index.serving().items() if entry.source == str(source))
            return Loaded(cards=cards, replaced=taken, left=tuple(sorted(set(left) - names)))

    def _collect(self, index: Index) -> list[str]:
        """Write the index without what nobody needs, then remove that. The store is locked.

        Whoever is about to make a job that needs a version uses its content until the job is there: so
        what is seized first, and asked about then, has all jobs that will ever need it.
        """
        old = old_versions(index)
        kept = index.contents() - {sha256 for _, sha256 in old}
        with self._shelf.seized(kept) as unused:
            forget(index, self._unneeded([version for version in old if version[1] in unused]))
            self._index.write(index)
            return self._shelf.remove(unused - index.contents())

    def _unneeded(self, versions: list[tuple[str, str]]) -> list[tuple[str, str]]:
        pins = {f"{name}@{sha256}": (name, sha256) for name, sha256 in versions}
        needed = set(self._needed(list(pins))) if pins else set()
        return [version for pin, version in pins.items() if pin not in needed]

    def _note(self, source: Path, error: AutoscorerError, content: Content | None) -> None:
        file, line = error.details.get("file"), error.details.get("line")  # perhaps the scorer's word
        failure = Failure(
            at=iso_now(),
            code=error.code,
            cause=error.cause,
            message=error.message,
            file=file if isinstance(file, str) else None,
            line=line if isinstance(line, int) else None,
            sha256=content.sha256 if content else None,
        )
        # What is no fault of the content's may pass: it is tried again at the next look.
        is_its_fault = error.blame is Blame.ORGANISER
        with self._index.locked() as index:
            known = index.sources.get(str(source))
            told = known.failure if known else None
            is_news = told is None or told.model_copy(update={"at": failure.at}) != failure
            if is_news and (known or may_be_source(source)):
                index.sources[str(source)] = Source(
                    tried=failure.sha256 if is_its_fault else None, failure=failure
                )
                self._index.write(index)

    def _make_folders(self) -> None:
        """The store's folders, ours alone. Raises RESOURCE_UNAVAILABLE."""
        try:
            self._root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._root.mkdir(mode=0o700, exist_ok=True)
            check_ours(self._root)
            self._shelf.make_folders()
        except OSError as exc:
            raise _cannot_keep(exc) from exc


def _cannot_keep(exc: OSError) -> AutoscorerError:
    message = f"scorers cannot be kept in DATA_DIR ({exc.strerror})"
    return AutoscorerError("RESOURCE_UNAVAILABLE", message, stage="scoring")


def _with_missing_neighbour(error: AutoscorerError, source: Path) -> AutoscorerError:
    """Say so when the module that a file misses lies beside it: only a package takes its modules along."""
    missing = error.details.get("missing")  # the scorer's word
    if not isinstance(missing, str) or not missing.isidentifier() or len(missing) > _LONGEST_MODULE:
        return error
    if not any((source.parent / name).exists() for name in (f"{missing}.py", missing)):
        return error
    message = (
        f"{error.message}. {missing} lies beside {source.name} but is not part of it: a file is loaded "
        f"alone. Make a folder with __init__.py of both, and load the folder"
    )
    return AutoscorerError(error.code, message, error.details, cause=error.cause)
