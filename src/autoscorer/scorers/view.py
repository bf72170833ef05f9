"""What a scorer is shown: a folder of ours with the truth, the input and a copy of what was delivered."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from autoscorer.harvest import Harvest, HarvestPolicy, harvest
from autoscorer.reading.source import VIEW_MARKER, Role
from autoscorer.schemas.result import canonical_json
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.utils.artifacts import open_regular, sha256_of
from autoscorer.utils.errors import AutoscorerError
from autoscorer.workspace import Workspace


@dataclass(frozen=True)
class ScoringView:
    """A workspace-shaped folder. ``pinned`` are open files it must find unchanged afterwards."""

    root: Path
    delivered: Harvest = field(default_factory=Harvest)
    pinned: dict[Role, PinnedFile] = field(default_factory=dict)


@dataclass(frozen=True)
class PinnedFile:
    """An open file and its state when it was opened: another file under its name is never read."""

    descriptor: int
    shown: str
    role: Role
    state: tuple[int, int, int]

    def check_unchanged(self) -> None:
        """Raise BAD_FORMAT if the file was written to since it was opened."""
        if _state(self.descriptor) != self.state:
            message = f"{self.shown} changed while it was scored; score it again"
            raise AutoscorerError("BAD_FORMAT", message, {"file": self.shown}, cause=self.role)


def workspace_view(workspace: Workspace, output: Path, root: Path, policy: HarvestPolicy) -> ScoringView:
    """A view of ``workspace`` in the new folder ``root``: ``output`` is harvested, the rest linked.

    Raises AutoscorerError MISSING_FILE when there is no output, else as `harvest`.
    """
    if not os.path.lexists(output):
        message = "there is no output/ folder: nothing was delivered"
        raise AutoscorerError("MISSING_FILE", message, {"expected": ["output/"]}, cause=Role.PREDICTION)
    root.mkdir(parents=True)
    delivered = harvest(output, root / "output", policy)
    for name in ("reference", "input"):
        shown = f"{workspace.root}/{name}"
        if os.path.exists(shown):  # noqa: PTH110 - as text, it is quicker
            # Above it there is no link.
            os.symlink(os.path.realpath(shown) if os.path.islink(shown) else shown, f"{root}/{name}")  # noqa: PTH211, PTH114
    (root / "meta.json").write_bytes(workspace.spec_path.read_bytes())
    return ScoringView(root, delivered)


@contextmanager
def files_view(card: ScorerCard, reference: Path, predictions: Path, root: Path) -> Iterator[ScoringView]:
    """A view of two files that need no workspace, in the folder ``root``; nothing is copied.

    The files are opened once and shown under the names the scorer looks for. Raises AutoscorerError:
    MISSING_FILE, BAD_FORMAT for a file type the scorer does not read or for anything but a regular file.
    """
    given = {Role.REFERENCE: ("reference", reference), Role.PREDICTION: ("output", predictions)}
    names, pinned = {}, {}
    with ExitStack() as stack:
        for role, (folder, path) in given.items():
            file = _pin(role, path)
            stack.callback(os.close, file.descriptor)
            name = _canonical_name(card, role, path)
            (root / folder).mkdir()
            (root / folder / name).symlink_to(f"/proc/self/fd/{file.descriptor}")
            names[f"{folder}/{name}"] = path.name
            pinned[role] = file
        (root / VIEW_MARKER).write_text(canonical_json(names), encoding="utf-8", errors="backslashreplace")
        yield ScoringView(root, pinned=pinned)


def file_names(card: ScorerCard, role: Role) -> Sequence[str]:
    """The file names a scorer looks for."""
    return card.reference_files if role is Role.REFERENCE else card.prediction_files


def tree_sha256(folder: Path) -> str | None:
    """One SHA-256 for the files below ``folder``: a single file's own, else over all names and hashes."""
    files = sorted(_files_below(os.fspath(folder), ""))
    return combined_sha256({name: sha256_of(folder / name) for name in files})


def _files_below(folder: str, prefix: str) -> Iterator[str]:
    """The names of the files below, with ``prefix`` before each; a link to a folder is not gone through."""
    try:
        with os.scandir(folder) as listed:
            entries = list(listed)
    except (PermissionError, FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(entry.path, f"{prefix}{entry.name}/")
        elif Path(entry.path).is_file() if entry.is_symlink() else entry.is_file():
            yield f"{prefix}{entry.name}"


def combined_sha256(hashes: dict[str, str]) -> str | None:
    """One hash for a set of named hashes: the hash itself if there is one, None if there is none."""
    if len(hashes) <= 1:
        return next(iter(hashes.values()), None)
    return hashlib.sha256(canonical_json(hashes).encode()).hexdigest()


def descriptor_sha256(descriptor: int) -> str:
    """SHA-256 (hex) of an open file, leaving its position alone."""
    digest, offset = hashlib.sha256(), 0
    while chunk := os.pread(descriptor, 2**20, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def _pin(role: Role, path: Path) -> PinnedFile:
    # A delivered file that is a link could lead to the truth.
    try:
        descriptor = open_regular(path, follow_links=role is Role.REFERENCE)
    except FileNotFoundError:
        raise AutoscorerError("MISSING_FILE", f"{path.name} does not exist", cause=role) from None
    except OSError as exc:
        message = f"{path.name} is not a readable regular file ({exc.strerror})"
        raise AutoscorerError("BAD_FORMAT", message, {"file": path.name}, cause=role) from exc
    return PinnedFile(descriptor, path.name, role, _state(descriptor))


def _state(descriptor: int) -> tuple[int, int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _canonical_name(card: ScorerCard, role: Role, path: Path) -> str:
    names = file_names(card, role)
    for name in names:
        if Path(name).suffix == path.suffix.lower():
            return name
    kinds = " or ".join(Path(name).suffix for name in names)
    message = f"{card.name} reads {kinds} files; by its name {path.name} is none"
    raise AutoscorerError("BAD_FORMAT", message, {"file": path.name}, cause=role)
