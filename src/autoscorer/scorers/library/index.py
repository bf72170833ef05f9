"""The pointers: which content each name means. One file, read without waiting, swapped whole."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ValidationError

from autoscorer.utils.artifacts import atomic_writer
from autoscorer.utils.errors import AutoscorerError


class Version(BaseModel):
    """A content that a name has meant: ``version`` is what the scorer says of itself."""

    sha256: str
    version: str
    loaded_at: str


class Name(BaseModel):
    """A scorer's name. ``current`` is None when it was unloaded; ``versions`` are newest first."""

    source: str
    aliases: tuple[str, ...] = ()
    current: str | None = None
    versions: list[Version] = []


class Failure(BaseModel):
    """Why the latest try to load a source failed."""

    at: str
    code: str
    cause: str
    message: str
    file: str | None = None
    line: int | None = None
    sha256: str | None = None


class Source(BaseModel):
    """A file or package that scorers were loaded from. ``tried`` is its content at the latest try."""

    tried: str | None = None
    failure: Failure | None = None


class Index(BaseModel):
    """All names, and all sources by their path."""

    names: dict[str, Name] = {}
    sources: dict[str, Source] = {}

    def serving(self) -> dict[str, Name]:
        """The names that mean something now."""
        return {name: entry for name, entry in self.names.items() if entry.current is not None}

    def holder(self, wanted: str) -> str | None:
        """The serving name that ``wanted``, perhaps an alias, stands for."""
        serving = self.serving()
        if wanted in serving:
            return wanted
        return next((name for name, entry in serving.items() if wanted in entry.aliases), None)

    def resolve(self, wanted: str, sha256: str | None) -> tuple[str, str] | None:
        """Name and content that ``wanted`` means, in the version ``sha256`` if given; None if none."""
        holder = self.holder(wanted) or wanted
        # A pin outlives that another scorer takes its name as an alias.
        for name in (wanted, holder) if sha256 else (holder,):
            entry = self.names.get(name)
            chosen = sha256 or (entry.current if entry else None)
            if entry and chosen and any(version.sha256 == chosen for version in entry.versions):
                return name, chosen
        return None

    def contents(self) -> set[str]:
        """Every content that some name knows."""
        return {version.sha256 for entry in self.names.values() for version in entry.versions}


class IndexFile:
    """The index on disk, in a folder of ours. Writers exclude each other; readers never wait."""

    def __init__(self, root: Path) -> None:
        self._path, self._lock = root / "index.json", root / "index.lock"
        self._source_locks = root / "locks"

    def read(self) -> Index:
        """The index as it is now. Raises AutoscorerError when the file is damaged."""
        try:
            check_ours(self._path.parent)
            return Index.model_validate_json(self._path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):  # there is no store
            return Index()
        except (ValidationError, OSError) as exc:
            message = "scorers/index.json in DATA_DIR cannot be read; remove it and load the scorers again"
            raise AutoscorerError("RESOURCE_UNAVAILABLE", message, stage="scoring") from exc

    @contextmanager
    def locked(self) -> Iterator[Index]:
        """The index, which nobody else changes meanwhile."""
        with _locked(self._lock):
            yield self.read()

    @contextmanager
    def changing(self) -> Iterator[Index]:
        """The index to change; it is written when nothing was raised, and then at once as a whole."""
        with self.locked() as index:
            yield index
            self.write(index)

    def write(self, index: Index) -> None:
        """Swap the file. Only under the lock."""
        with atomic_writer(self._path, mode=0o600) as file:
            file.write(index.model_dump_json(indent=1).encode())

    @contextmanager
    def loading(self, source: Path) -> Iterator[None]:
        """Only one load of ``source`` at a time: who read it last is swapped in last."""
        self._source_locks.mkdir(mode=0o700, exist_ok=True)
        name = hashlib.sha256(os.fsencode(source)).hexdigest()
        with _locked(self._source_locks / name):
            yield


def check_ours(folder: Path) -> None:
    """Raise RESOURCE_UNAVAILABLE for a store that others could write to; OSError if there is none."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        message = (
            "the folder `scorers` in DATA_DIR is not this user's alone; run as the user it belongs to, and "
            "let nobody else write there: `chmod go-w`"
        )
        raise AutoscorerError("RESOURCE_UNAVAILABLE", message, stage="scoring")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
