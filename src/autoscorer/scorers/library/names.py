"""What a load does to the names: a pure function of the index, the cards, and who has which name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.library.index import Index, Name, Version
from autoscorer.scorers.registry import NAME_FORM, is_name
from autoscorer.utils.errors import AutoscorerError

KEPT_VERSIONS = 5


def conflicts(
    index: Index, cards: Sequence[ScorerCard], source: str, reserved: Mapping[str, str]
) -> dict[str, str]:
    """Names that ``cards`` want and somebody else has: who. ``reserved`` are those outside the store.

    A name that this source has already, or that stands for the very same content, is no conflict.
    """
    found: dict[str, str] = {}
    for card in cards:
        for wanted in (card.name, *card.aliases):
            holder = index.holder(wanted)
            entry = index.names[holder] if holder else None
            if entry is not None and entry.source != source and entry.current != card.sha256:
                found[wanted] = f"the scorer loaded from {Path(entry.source).name}"
            elif entry is None and wanted in reserved:
                found[wanted] = reserved[wanted]
    return found


def check_names(cards: Sequence[ScorerCard], source: str) -> None:
    """Raise unless every name can be one: a card comes from the scorer's own process."""
    for card in cards:
        for name in (card.name, *card.aliases):
            if not is_name(name):
                told = f"{Path(source).name} registers a name that cannot be used, {name[:80]!r}: {NAME_FORM}"
                raise AutoscorerError("SCORER_NOT_FOUND", told, cause="unloadable")


def refuse(found: Mapping[str, str], source: str) -> AutoscorerError:
    """The error for names that are in use."""
    told = "; ".join(f"{name!r} is the name of {who}" for name, who in found.items())
    message = f"{Path(source).name} was not loaded: {told}. Rename yours, or load it with --replace"
    details = {"file": Path(source).name, "names": list(found)}
    return AutoscorerError("SCORER_NOT_FOUND", message, details, cause="name_taken")


def point(index: Index, cards: Sequence[ScorerCard], source: str, *, loaded_at: str) -> None:
    """Let the names of ``cards`` mean their content, whoever had them before."""
    for card in cards:
        for wanted in (card.name, *card.aliases):
            _take(index, wanted, card.name)
        entry = index.names.get(card.name) or Name(source=source)
        version = Version(sha256=card.sha256, version=card.version, loaded_at=loaded_at)
        older = [known for known in entry.versions if known.sha256 != card.sha256]
        index.names[card.name] = Name(
            source=source, aliases=card.aliases, current=card.sha256, versions=[version, *older]
        )


def old_versions(index: Index) -> list[tuple[str, str]]:
    """Name and content of every version beyond the last few of its name, the one that serves left out."""
    return [
        (name, version.sha256)
        for name, entry in index.names.items()
        for version in entry.versions[KEPT_VERSIONS:]
        if version.sha256 != entry.current
    ]


def forget(index: Index, versions: Collection[tuple[str, str]]) -> None:
    """Drop these versions, and sources that nothing is known of."""
    for name, entry in index.names.items():
        entry.versions = [known for known in entry.versions if (name, known.sha256) not in versions]
    of_names = {entry.source for entry in index.names.values()}
    for source in list(index.sources):
        if source not in of_names and not Path(source).exists():
            del index.sources[source]


def _take(index: Index, wanted: str, newcomer: str) -> None:
    """Nobody but ``newcomer`` is called ``wanted`` any more; a scorer that loses its name serves no more."""
    for name, entry in index.names.items():
        if name == newcomer:
            continue
        if name == wanted:
            entry.current = None
        entry.aliases = tuple(alias for alias in entry.aliases if alias != wanted)
