"""Scorers loaded over the API: which file a request means, and what is written down about a load."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any

from autoscorer.access.principal import Principal, not_found
from autoscorer.api.service import Service
from autoscorer.schemas.envelope import Warning_
from autoscorer.scorers.library import Loaded
from autoscorer.scorers.library.sources import source_path
from autoscorer.utils.errors import AutoscorerError


def scorers_dir(service: Service) -> Path:
    """SCORERS_DIR, without links. Raises CONFIG_VALIDATION_ERROR when it is not set."""
    folder = service.settings.scorers_dir
    if folder is None:
        message = "SCORERS_DIR is not set; scorers are loaded over the API from files below it only"
        raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration")
    return Path(os.path.realpath(folder))


def source_of(service: Service, text: str, *, or_name: bool = False) -> Path:
    """The file or folder below SCORERS_DIR that ``text`` names; with ``or_name`` also by a scorer's name.

    ``text`` starts at SCORERS_DIR, or at WORKSPACE_ROOT where that holds it, or is absolute. No link below
    is followed. Raises NOT_FOUND, in the same words for what is not there and for what lies elsewhere.
    """
    root = scorers_dir(service)
    if or_name:
        known = service.catalog.library.source_of(text)
        if "/" not in text and _is_below(root, known):
            return known
    path = PurePosixPath(text)
    if "\0" not in text and ".." not in path.parts:
        for start in (root, service.homes.root):
            found = source_path(start / path)
            if _is_below(root, found) and os.path.lexists(found):
                return found
    raise not_found(f"scorer file {text[:200]!r}")


def record(service: Service, loaded: Loaded, *, by: str) -> None:
    """Note in the store what a load brought, and who did it."""
    for card in loaded.cards:
        service.store.scorers.activate(
            name=card.name,
            sha256=card.sha256,
            version=card.version,
            card=card.model_dump(mode="json"),
            loaded_by=by,
        )


def loaded_data(loaded: Loaded) -> dict[str, Any]:
    """What a load did, as an answer has it."""
    cards = [card.model_dump(mode="json", exclude={"example"}) for card in loaded.cards]
    return {"loaded": cards, "replaced": dict(loaded.replaced), "left": list(loaded.left)}


def load_warnings(loaded: Loaded) -> list[Warning_]:
    """A warning for each name that changed hands or lost its code."""
    taken = [f"{name} was the name of {who}" for name, who in loaded.replaced.items()]
    left = [
        f"{name} is not in the file any more; its last version goes on serving until it is unloaded"
        for name in loaded.left
    ]
    warnings = [Warning_(code="SCORER_REPLACED", message=text) for text in taken]
    return [*warnings, *(Warning_(code="SCORER_LEFT_BEHIND", message=text) for text in left)]


def who(principal: Principal) -> str:
    """Who did it, as the store writes it down."""
    return f"{principal.subject} ({principal.role})"


def _is_below(root: Path, path: Path) -> bool:
    """Whether it lies below ``root``, itself or through a link above it; ``root`` does as well."""
    try:
        return Path(os.path.realpath(path.parent), path.name).is_relative_to(root) or path == root
    except (OSError, ValueError):
        return False
