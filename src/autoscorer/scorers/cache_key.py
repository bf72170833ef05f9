"""What determines a result, as two hashes: a quick one to ask with, and the one its entry has.

The quick one covers the scorer, its parameters, this installation and machine, and the names and sizes of all
that the scorer is shown; only when the cache knows it are the files' hashes waited for before scoring.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import autoscorer
from autoscorer.reading.source import VIEW_MARKER, Role
from autoscorer.schemas.result import canonical_json
from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.view import ScoringView, file_names

# A scorer of the calling program may use anything in that program; its file does not tell.
CACHED_ORIGINS = ("builtin", "stored", "entry_point")
MOST_ENTRIES = 20_000
Stats = tuple[int, int, int, int, int]
# Of a processor: what libraries choose their instructions by, not how fast it runs just now.
_CPU_FIELDS = ("vendor_id", "cpu family", "model", "flags", "CPU implementer", "CPU part", "Features")


@dataclass(frozen=True)
class Seen:
    """A tree as a scorer sees it: what stands where, and each file's stat signature.

    A signature is (size, mtime_ns, ctime_ns, inode, device). Nobody but root can set ctime, so that a file
    with the same signature is taken for the same file.
    """

    files: dict[str, Stats] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)

    def sizes(self) -> dict[str, int]:
        return {name: stats[0] for name, stats in self.files.items()}


@dataclass(frozen=True)
class Question:
    """What is asked of the cache. ``watched`` must be the same after scoring, or the answer is not kept."""

    quick: str
    watched: tuple[Seen, Seen]

    def key(self, content_sha256: str) -> str:
        """The entry's key, once the hash over all files' hashes is known."""
        return hashlib.sha256(f"{self.quick}\n{content_sha256}".encode()).hexdigest()


def make_question(
    card: ScorerCard, view: ScoringView, params: Mapping[str, Any], *, apart: bool
) -> Question | None:
    """What to ask for this scoring; None when it cannot be told what determines its result.

    ``params`` are those that were given: how they are completed is the scorer's content. Any file delivered
    counts, and for a scorer that is not ours all of `input/` (its stat signatures) and `meta.json` too: it
    may read them. ``apart``: who wants a process apart gets what was computed in one. Raises OSError.
    """
    if card.origin not in CACHED_ORIGINS or not _is_json(params):
        return None
    watched = look(card, view)
    delivered = _tree(view.root / "output")
    if watched is None or delivered is None:
        return None
    reference, inputs = watched
    facts: dict[str, Any] = {
        "scorer": [card.name, card.sha256],
        "params": params,
        "apart": apart,
        "reference": [reference.sizes(), reference.folders],
        "delivered": [delivered.sizes(), delivered.folders, view.delivered.sha256],
        "input": [inputs.sizes(), inputs.folders],
        "installation": installation(),
    }
    if card.origin != "builtin":
        facts["input"] = [inputs.files, inputs.folders]
        facts["shown"] = [_sha256(view.root / name) for name in ("meta.json", VIEW_MARKER)]
    return Question(hashlib.sha256(canonical_json(facts).encode()).hexdigest(), watched)


def look(card: ScorerCard, view: ScoringView) -> tuple[Seen, Seen] | None:
    """`reference/` and `input/` as they are now; of `input/` a scorer of ours reads a truth at most."""
    reference = _tree(view.root / "reference")
    folder = view.root / "input"
    inputs = _truth_in(folder, card) if card.origin == "builtin" else _tree(folder)
    return None if reference is None or inputs is None else (reference, inputs)


@functools.cache
def installation() -> str:
    """SHA-256 (hex) of what computes here: AutoScorer and its files, Python, all installed packages, the CPU.

    Files and packages by name and stat signature. Asked once a process: what it has imported, it keeps.
    """
    package = Path(autoscorer.__file__).parent
    sources = {
        path.relative_to(package).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(package.rglob("*"))
        if path.suffix in (".py", ".toml")
    }
    facts = [autoscorer.__version__, sources, sys.version, sorted(_packages()), platform.machine(), _cpu()]
    return hashlib.sha256(canonical_json(facts).encode()).hexdigest()


def _packages() -> Iterator[tuple[str, int]]:
    """The metadata folders, named `polars-2.1.0.dist-info`, of all that can be imported."""
    for folder in filter(os.path.isdir, sys.path):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith((".dist-info", ".egg-info")):
                    yield entry.name, entry.stat().st_mtime_ns


def _cpu() -> dict[str, str]:
    """The first processor's make and instruction sets, empty where Linux does not tell."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            first = file.read(2**14).partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip() in _CPU_FIELDS}


def _is_json(params: Mapping[str, Any]) -> bool:
    """Whether JSON tells these parameters from all others: it has no tuples and no numbers as keys."""
    try:
        return bool(json.loads(canonical_json(params)) == params)
    except (TypeError, ValueError, RecursionError):
        return False


def _truth_in(folder: Path, card: ScorerCard) -> Seen:
    """The files of ``folder`` that a scorer would take for the truth."""
    seen = Seen()
    for name in file_names(card, Role.REFERENCE):
        if os.path.lexists(folder / name):
            seen.files[name] = _stats(folder / name)
    return seen


def _tree(root: Path) -> Seen | None:
    """All below ``root``; None for a tree with links to folders, or so large that to look takes long."""
    seen = Seen()
    pending = [root] if root.exists() else []
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                name = Path(entry.path).relative_to(root).as_posix()
                if entry.is_dir(follow_symlinks=False):
                    seen.folders.append(name)
                    pending.append(Path(entry.path))
                elif entry.is_dir():
                    return None
                else:
                    seen.files[name] = _stats(Path(entry.path))
                if len(seen.files) + len(seen.folders) > MOST_ENTRIES:
                    return None
    seen.folders.sort()
    return seen


def _stats(path: Path) -> Stats:
    """The signature of the file that is read under this name; a link that leads nowhere has its own."""
    try:
        status = path.stat()
    except FileNotFoundError:
        status = path.lstat()
    size = status.st_size if stat.S_ISREG(status.st_mode) else -1
    return size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
