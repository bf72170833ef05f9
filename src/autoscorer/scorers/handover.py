"""What a scorer hands over beside its numbers: files looked at, capped, copied, hashed and listed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autoscorer.schemas.result import Artifact
from autoscorer.utils.artifacts import create_fresh, open_regular
from autoscorer.utils.errors import AutoscorerError

FOLDER = "artifacts"
MEDIA_TYPES = {
    ".csv": "text/csv",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
# Plain on every system, in every address and in every listing.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_CHUNK_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class ArtifactCaps:
    """How much one scoring may hand over."""

    most_files: int = 64
    most_bytes_each: int = 32 * 2**20
    most_bytes: int = 128 * 2**20


CAPS = ArtifactCaps()


def media_type_of(filename: str) -> str:
    """The media type by the ending of the name; that of plain bytes for an ending we do not know."""
    return MEDIA_TYPES.get(Path(filename).suffix.lower(), "application/octet-stream")


def take_artifacts(
    artifacts: Mapping[str, Artifact], source: Path, target: Path, caps: ArtifactCaps = CAPS
) -> dict[str, Artifact]:
    """Copy the files of ``source``/artifacts that are listed into the new folder ``target``.

    Returns them as they really are: size, hash and media type are ours, the rest is the scorer's word.
    What is not listed is not taken. Raises AutoscorerError SCORER_BAD_RESULT for an odd name, a link or
    anything but a regular file, a file that is not there, and more files or bytes than ``caps`` allow.
    """
    if len(artifacts) > caps.most_files:
        raise _fault(f"there are {len(artifacts)}, more than {caps.most_files}")
    if artifacts:
        target.mkdir()
    taken: dict[str, Artifact] = {}
    for name, artifact in artifacts.items():
        filename = _plain_filename(name, artifact)
        room = caps.most_bytes - sum(other.size for other in taken.values())
        with _opened(source / FOLDER, filename) as origin, create_fresh(target / filename) as copy:
            size, sha256 = _copied(origin, copy, min(room, caps.most_bytes_each))
        if size > min(room, caps.most_bytes_each):
            limits = f"one may have {caps.most_bytes_each} bytes, all together {caps.most_bytes}"
            raise _fault(f"{artifact.path} is too large: {limits}")
        facts = {"size": size, "sha256": sha256, "media_type": media_type_of(filename)}
        taken[name] = artifact.model_copy(update=facts)
    return taken


def _plain_filename(name: str, artifact: Artifact) -> str:
    """The file's name, if it and the artifact's own are plain."""
    filename = artifact.path.removeprefix(f"{FOLDER}/")
    if artifact.path == filename or not _PLAIN_NAME.fullmatch(filename):
        raise _fault(f"{artifact.path[:200]!r} is not a plainly named file directly in {FOLDER}/")
    if not _PLAIN_NAME.fullmatch(name):
        raise _fault(f"{name[:100]!r} is no plain name: letters, digits, dots, hyphens, underlines")
    return filename


def _opened(folder: Path, filename: str) -> BinaryIO:
    shown = f"{FOLDER}/{filename}"
    if os.path.islink(folder):  # noqa: PTH114 - as text, it is quicker
        raise _fault(f"{FOLDER}/ is a link")
    try:
        file = os.fdopen(open_regular(folder / filename, follow_links=False), "rb", buffering=0)
    except FileNotFoundError:
        raise _fault(f"{shown} was not written") from None
    except OSError as exc:
        raise _fault(f"{shown} is not a readable regular file ({exc.strerror})") from exc
    if os.fstat(file.fileno()).st_nlink != 1:
        file.close()
        raise _fault(f"{shown} is a second name of another file")
    return file


def _copied(origin: BinaryIO, copy: BinaryIO, most_bytes: int) -> tuple[int, str]:
    """Size and SHA-256 (hex) of what was copied; it stops soon after ``most_bytes``."""
    digest, size = hashlib.sha256(), 0
    while size <= most_bytes and (chunk := origin.read(_CHUNK_BYTES)):
        size += len(chunk)
        digest.update(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[copy.write(rest) :]
    return size, digest.hexdigest()


def _fault(what: str) -> AutoscorerError:
    return AutoscorerError("SCORER_BAD_RESULT", f"the scorer's artifacts are not taken: {what}")
