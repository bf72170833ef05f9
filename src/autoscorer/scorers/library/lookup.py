"""Looking into the store: what a name means, its versions, what failed. Changes nothing and never waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from autoscorer.scorers.host import Entry
from autoscorer.scorers.library.index import Failure, Index, IndexFile, Name
from autoscorer.scorers.library.shelf import Shelf
from autoscorer.scorers.library.sources import source_path
from autoscorer.utils.errors import AutoscorerError

_LOOKS = 10  # each only when what the index named was removed before it was opened


class Lookup:
    """The stored scorers of one installation, as they are at the moment of each question."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "scorers"
        self._index, self._shelf = IndexFile(self._root), Shelf(self._root)

    @property
    def cards_folder(self) -> Path:
        """Where the cards of installed packages may be kept."""
        return self._root / "installed"

    def find(self, name: str) -> Entry | None:
        """The scorer that ``name`` or ``name@sha256`` means; None if the store has none."""
        wanted, _, sha256 = name.partition("@")
        for _ in range(_LOOKS):
            index = self._index.read()
            found = index.resolve(wanted, sha256 or None)
            if found is None:
                return None
            try:
                return self._entry(index, *found)
            except FileNotFoundError:
                continue  # no longer needed since the index was read: read it again
        return None

    @contextmanager
    def held(self, name: str) -> Iterator[Entry | None]:
        """As `find`, and the content stays as long as this lasts, however many versions follow.

        Raises AutoscorerError SCORER_NOT_FOUND when the stored copy is damaged.
        """
        with ExitStack() as stack:
            for _ in range(_LOOKS):
                entry = self.find(name)
                if entry is None:
                    break
                try:
                    stack.enter_context(self._shelf.held(entry.card.sha256))
                except FileNotFoundError:
                    continue
                self._shelf.verify(entry.card.sha256)
                break
            else:
                entry = None
            yield entry

    def entries(self) -> list[Entry]:
        """What every name means now, by name."""
        found = (self.find(name) for name in sorted(self._index.read().serving()))
        return [entry for entry in found if entry is not None]

    def names(self) -> set[str]:
        """Every name and alias that means something now."""
        serving = self._index.read().serving()
        return {*serving, *(alias for entry in serving.values() for alias in entry.aliases)}

    def history(self, name: str) -> Name:
        """What is known of ``name``: source, versions (newest first), which one serves.

        Raises AutoscorerError SCORER_NOT_FOUND.
        """
        index = self._index.read()
        known = index.names.get(index.holder(name) or name)
        if known is None:
            message = f"{name!r} was never loaded from a file"
            raise AutoscorerError("SCORER_NOT_FOUND", message, {"scorer": name, "known": sorted(index.names)})
        return known

    def sources(self) -> set[Path]:
        """Where the scorers that serve were loaded from."""
        return {Path(entry.source) for entry in self._index.read().serving().values()}

    def failures(self) -> dict[str, Failure]:
        """Sources whose latest try failed, by path."""
        sources = self._index.read().sources
        return {path: source.failure for path, source in sources.items() if source.failure is not None}

    def source_of(self, target: str | Path) -> Path:
        """The source that a name was loaded from, or that a path means."""
        index = self._index.read()
        holder = index.holder(str(target))
        return Path(index.names[holder].source) if holder else source_path(target)

    def _entry(self, index: Index, name: str, sha256: str) -> Entry:
        """Raises FileNotFoundError when the content is gone."""
        code, cards = self._shelf.find(sha256)
        for card in cards:
            if card.name == name:
                return Entry(card=card.model_copy(update={"aliases": index.names[name].aliases}), code=code)
        raise FileNotFoundError(sha256)
