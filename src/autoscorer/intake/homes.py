"""Whose folder is whose below WORKSPACE_ROOT, and which workspace a request's words mean."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from autoscorer.access.first import DEFAULT_ORGANISATION
from autoscorer.access.folders import SUBMISSIONS, home_of
from autoscorer.access.principal import Principal, not_found
from autoscorer.staging import ORGANISATIONS
from autoscorer.store.base import Store
from autoscorer.store.records import Role
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError

_MAX_PARTS = 32
_PLAIN_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A workspace's folder: ``path`` is real, ``name`` is it from WORKSPACE_ROOT on, as a job says it."""

    path: Path
    name: str
    organisation_id: str


class Homes:
    """The homes of all organisations. Safe to use from several threads."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def root(self) -> Path:
        """WORKSPACE_ROOT, without links. Raises CONFIG_VALIDATION_ERROR when it is not set."""
        if self._settings.workspace_root is None:
            message = "WORKSPACE_ROOT is not set; the service works on workspaces below it only"
            raise AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="configuration")
        return Path(os.path.realpath(self._settings.workspace_root))

    def from_root(self, text: str) -> str:
        """``text`` with WORKSPACE_ROOT as it is really called, where it names that as it is configured."""
        spelled = self._settings.workspace_root
        if spelled is None or not text.startswith("/"):
            return text
        path = PurePosixPath(text)
        if not path.is_relative_to(spelled):
            return text
        return str(self.root / path.relative_to(spelled))

    def home(self, organisation_id: str) -> Path:
        """The folder of an organisation; it need not be there. Raises NOT_FOUND."""
        return self.root / home_of(self._name_of(organisation_id))

    def submissions(self, principal: Principal, *, organisation_id: str | None = None) -> Path:
        """The folder of what ``principal`` submits, in their own organisation or in another one.

        It need not be there.
        """
        home = self.home(organisation_id or principal.organisation_id)
        return home / SUBMISSIONS / subject_slug(principal.subject)

    def workspace(self, text: str, principal: Principal) -> Place:
        """The workspace that ``text`` names, as the thing to work on.

        Raises NOT_FOUND, in the same words for one that is not there and one out of the principal's reach.
        """
        place = self._place(text)
        if place is None or not self._may_run(place, principal):
            raise no_workspace(text)
        return place

    def base(self, text: str, principal: Principal) -> Place:
        """The workspace that ``text`` names, as one to make a new one from. Raises as `workspace`."""
        place = self._place(text)
        if place is None or not self._may_copy(place, principal):
            raise no_workspace(text)
        return place

    def place_of(self, path: Path) -> Place:
        """The place of a folder that we made ourselves."""
        place = self._place(str(path.relative_to(self.root)))
        if place is None:
            raise no_workspace(path.name)
        return place

    def _may_run(self, place: Place, principal: Principal) -> bool:
        if principal.role is Role.OPERATOR:
            return True
        if place.organisation_id != principal.organisation_id:
            return False
        return principal.role is Role.ORGANISER or place.path.is_relative_to(self.submissions(principal))

    def _may_copy(self, place: Place, principal: Principal) -> bool:
        if self._may_run(place, principal):
            return True
        others = self.home(principal.organisation_id) / SUBMISSIONS
        own = place.organisation_id == principal.organisation_id
        return own and not place.path.is_relative_to(others)

    def _place(self, text: str) -> Place | None:
        root = self.root
        path = real_folder(root, self.from_root(text))
        if path is None or path == root:
            return None
        parts = path.relative_to(root).parts
        if any(part.startswith(".") for part in parts) or _lies_in_workspace(root, parts):
            return None
        organisation_id = self._owner_of(parts)
        if organisation_id is None:
            return None
        return Place(path=path, name="/".join(parts), organisation_id=organisation_id)

    def _owner_of(self, parts: tuple[str, ...]) -> str | None:
        """The organisation in whose home a folder lies; None for the homes themselves."""
        if parts[0] != ORGANISATIONS:
            return self._id_of(DEFAULT_ORGANISATION)
        is_inside = len(parts) > 2 and parts[1] != DEFAULT_ORGANISATION
        return self._id_of(parts[1]) if is_inside else None

    def _name_of(self, organisation_id: str) -> str:
        if organisation_id not in self._names:
            self._look_up()
        if organisation_id not in self._names:
            raise not_found(f"organisation {organisation_id}")
        return self._names[organisation_id]

    def _id_of(self, name: str) -> str | None:
        found = self._known(name)
        if found is None:
            self._look_up()
            found = self._known(name)
        return found

    def _known(self, name: str) -> str | None:
        return next((known for known, known_name in self._names.items() if known_name == name), None)

    def _look_up(self) -> None:
        # An organisation keeps its name for good, so what is known stays true.
        found = {known.organisation_id: known.name for known in self._store.access.organisations()}
        with self._lock:
            self._names = found


def real_folder(root: Path, text: str) -> Path | None:
    """The folder below ``root`` that ``text`` names, without links; None if there is none.

    ``text`` starts at ``root``, or names it: an absolute path is one below it. ``..`` is never followed.
    """
    path = PurePosixPath(text)
    if path.is_absolute():
        if not path.is_relative_to(root):
            return None
        path = path.relative_to(root)
    if ".." in path.parts or len(path.parts) > _MAX_PARTS or "\0" in text:
        return None
    try:
        text.encode()
        if (plain := _plain_folder(root, path.parts)) is not None:
            return plain
        found = Path(os.path.realpath(root / path, strict=True))
        str(found).encode()
        return found if found.is_relative_to(root) and found.is_dir() else None
    except (OSError, ValueError):
        return None


def _plain_folder(root: Path, parts: Sequence[str]) -> Path | None:
    """The folder ``parts`` below ``root``, where no step is a link: almost always, and found at less cost."""
    at = str(root).rstrip("/")
    for part in parts:
        at = f"{at}/{part}"
        if not stat.S_ISDIR(os.lstat(at).st_mode):
            return None
    return Path(at or "/")


def subject_slug(subject: str) -> str:
    """The name of a subject's folder; two subjects never have the same."""
    if _PLAIN_SLUG.fullmatch(subject):
        return subject
    readable = re.sub(r"[^a-z0-9]+", "-", subject.lower())[:40].strip("-")
    # No plain subject has a dot in it.
    return f"{readable or 'subject'}.{hashlib.sha256(subject.encode()).hexdigest()[:16]}"


def no_workspace(text: str) -> AutoscorerError:
    """The one answer about a workspace that is not there, or not for this principal."""
    return not_found(f"workspace {text!r}")


def _lies_in_workspace(root: Path, parts: tuple[str, ...]) -> bool:
    """Whether a folder above is a workspace: what lies in one may be a container's work."""
    above = (root.joinpath(*parts[:length]) for length in range(1, len(parts)))
    return any(os.path.lexists(folder / "meta.json") for folder in above)
