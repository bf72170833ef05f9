"""The store and the catalogue of an installation, as its settings say, with the check of new content."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.host import Code
from autoscorer.scorers.installed import installed_names
from autoscorer.scorers.library.library import Library, Needed, all_of_them
from autoscorer.scorers.registry import load_builtin
from autoscorer.utils.config import Settings

if TYPE_CHECKING:
    from autoscorer.scorers.child.host import ChildHost

CHECK_TIME_LIMIT_S = 60  # to import a file and score its example; a scorer may take longer than that


def open_library(settings: Settings, needed: Needed = all_of_them) -> Library:
    """The scorers loaded from files on this installation. Nothing is started or made before it is needed.

    ``needed`` knows which old versions jobs may come for.
    """

    def check(code: Code, sha256: str) -> list[ScorerCard]:
        from autoscorer.scorers.child.host import ChildHost

        limit_s = min(settings.scorer_time_limit_s, CHECK_TIME_LIMIT_S)
        host = ChildHost(replace(settings, scorer_time_limit_s=limit_s))
        try:
            return host.describe(code, sha256)
        finally:
            host.close()

    return Library(
        settings.data_dir, check, reserved=names_elsewhere, needed=needed, scorers_dir=settings.scorers_dir
    )


def open_catalog(
    settings: Settings, *, needed: Needed = all_of_them, isolate: bool = False, warm: bool = False
) -> Catalog:
    """Every scorer of this installation; close it in the end.

    ``isolate``: all compute in a process apart. ``warm``: for whoever scores often.
    """

    def child() -> ChildHost:
        from autoscorer.scorers.child.host import ChildHost

        return ChildHost(settings, warm=warm)

    return Catalog(child, library=lambda: open_library(settings, needed), isolate=isolate)


def names_elsewhere() -> dict[str, str]:
    """Every name that means a scorer which was not loaded from a file, and who has it."""
    loaded = load_builtin()
    aliases = [alias for name in loaded.names() for alias in loaded.aliases_of(name)]
    return installed_names() | dict.fromkeys([*loaded.names(), *aliases], "a built-in scorer")
