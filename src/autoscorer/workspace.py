"""The folder contract: where the parts of a workspace are, and its attempts.

meta.json   the job specification            input/      data, shown read-only to the program
reference/  the truth, never shown           output/     what was delivered or harvested, result.json
logs/       container and job logs           .attempts/  one folder per attempt, ours
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from autoscorer.schemas.job import JobSpec, SpecFault, spec_error
from autoscorer.utils.artifacts import open_regular, read_at_most, remove_tree, write_bytes
from autoscorer.utils.errors import AutoscorerError

MAX_SPEC_BYTES = 2**20
TRUTH_NAMES = ("gt.csv", "gt.json")
OWNER_NAME = ".owner"
OUR_FOLDERS = ("output", "logs", ".attempts")
_PARTS = (".", "meta.json", "input", "reference", *OUR_FOLDERS)


@dataclass(frozen=True)
class Workspace:
    """One workspace on disk. ``root`` is absolute and has no links in it."""

    root: Path

    @classmethod
    def open(cls, path: str | Path) -> Workspace:
        """The workspace at ``path``; raises CONFIG_VALIDATION_ERROR if there is no such folder."""
        try:
            root = Path(path).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            raise spec_error([SpecFault(str(path), "there is no such folder")], cause="workspace") from None
        if not root.is_dir():
            raise spec_error([SpecFault(str(path), "is not a folder")], cause="workspace")
        return cls(root)

    @property
    def spec_path(self) -> Path:
        return self.root / "meta.json"

    @property
    def reference_dir(self) -> Path:
        return self.root / "reference"

    @property
    def logs_dir(self) -> Path:
        return self.root / "logs"

    @property
    def attempts_dir(self) -> Path:
        return self.root / ".attempts"

    def load_spec(self) -> JobSpec:
        """`meta.json`, checked. Raises CONFIG_VALIDATION_ERROR with every fault."""
        return JobSpec.parse(self._read_spec())

    def raw_spec(self) -> dict[str, Any]:
        """What `meta.json` holds, unchecked; nothing if that is no JSON object."""
        try:
            value = json.loads(self._read_spec())
        except (AutoscorerError, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def layout(self) -> Mapping[str, int]:
        """What stands at the names of a workspace's parts, and its mode; that of a link is the link's own."""
        found = {}
        for name in _PARTS:
            try:
                found[name] = os.lstat(f"{self.root}/{name}").st_mode
            except OSError:
                continue
        return found

    def structure_faults(self) -> list[SpecFault]:
        """What is wrong with the folder itself, apart from `meta.json`."""
        # As text: every submission asks, and each of a path's parts costs as much as asking the disk.
        at, there = {name: f"{self.root}/{name}" for name in _PARTS}, self.layout()
        links = {name for name, mode in there.items() if stat.S_ISLNK(mode)}
        folders = {name for name, mode in there.items() if stat.S_ISDIR(mode)}
        folders |= {name for name in links if os.path.isdir(at[name])}  # noqa: PTH112 - as text
        faults = [
            SpecFault(f"{name}/", "is a link; the platform writes there and follows no links")
            for name in OUR_FOLDERS
            if name in links
        ]
        faults += [
            SpecFault(f"{name}/", "is not a folder")
            for name in ("input", "reference", *OUR_FOLDERS)
            if name in there and name not in folders
        ]
        faults += [
            SpecFault(f"{name}/", "is not writable by this user")
            for name in (".", *OUR_FOLDERS)
            if name in folders and not os.access(at[name], os.W_OK | os.X_OK)
        ]
        return faults

    def truth_paths(self) -> list[Path]:
        """Where the truth really lies: `reference/` and what links in it lead to."""
        entries = list(self.reference_dir.iterdir()) if self.reference_dir.is_dir() else []
        return [Path(os.path.realpath(path)) for path in (self.reference_dir, *entries)]

    def exposed_truth(self, shown: Path, names: Sequence[str] = TRUTH_NAMES) -> list[str]:
        """Truth files, called ``names``, the program can read in ``shown``, which it gets as `input/`."""
        there = [f"input/{name}" for name in names if os.path.lexists(f"{shown}/{name}")]
        reference = f"{self.root}/reference"
        if stat.S_ISLNK(self.layout().get("reference", 0)):
            reference = os.path.realpath(reference)
        listed = os.scandir(reference) if os.path.isdir(reference) else nullcontext(())  # noqa: PTH112 - as text
        with listed as entries:
            real = {
                entry.name: os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                for entry in entries
            }
        linked = [f"reference/{name}" for name, path in real.items() if f"{path}/".startswith(f"{shown}/")]
        return there + linked

    def attempts(self) -> list[Attempt]:
        """The attempts that have a folder, by number."""
        try:
            names = os.listdir(self.attempts_dir)
        except (FileNotFoundError, NotADirectoryError):
            names = []
        numbers = [int(name) for name in names if name.isascii() and name.isdecimal() and len(name) < 10]
        return [Attempt(self, number) for number in sorted(numbers)]

    def new_attempt(self, owner: str = "", *, after: int = 0) -> Attempt:
        """A fresh, private folder for an attempt of ``owner``, numbered above ``after`` and all there."""
        while True:
            there = self.attempts()
            for attempt in there:
                with suppress(OSError):  # an empty one is what a run that was killed at once has left
                    attempt.root.rmdir()
            attempt = Attempt(self, max((after, *(attempt.number for attempt in there))) + 1)
            root = attempt.root
            try:
                root.mkdir(mode=0o700)
                if owner:
                    (root / OWNER_NAME).write_bytes(owner.encode("ascii"))
                return attempt
            except FileExistsError:
                continue  # another, woken up too late, made one of this number
            except FileNotFoundError:  # or it removed ours while it was empty; or it is the first
                self.attempts_dir.mkdir(exist_ok=True)

    def _read_spec(self) -> bytes:
        try:
            descriptor = open_regular(self.spec_path, follow_links=False)
        except FileNotFoundError:
            raise spec_error([SpecFault("meta.json", "is missing")]) from None
        except OSError as exc:
            fault = SpecFault("meta.json", f"is not a readable regular file ({exc.strerror})")
            raise spec_error([fault]) from exc
        content = read_at_most(descriptor, MAX_SPEC_BYTES + 1)
        if len(content) > MAX_SPEC_BYTES:
            raise spec_error([SpecFault("meta.json", f"is larger than {MAX_SPEC_BYTES} bytes")])
        return content


@dataclass(frozen=True)
class Glimpse(Workspace):
    """A workspace as it stood when it was looked at first: for checks that are all of one moment."""

    def layout(self) -> Mapping[str, int]:
        return self._layout

    @cached_property
    def _layout(self) -> Mapping[str, int]:
        return super().layout()


@dataclass(frozen=True)
class Attempt:
    """One try at a job: a folder of our own under `.attempts/`."""

    workspace: Workspace
    number: int

    @property
    def root(self) -> Path:
        return self.workspace.attempts_dir / str(self.number)

    @property
    def name(self) -> str:
        return str(self.number)

    @property
    def out_dir(self) -> Path:
        return self.root / "out"

    @property
    def previous_output(self) -> Path:
        """Where the output that stood before this attempt lies, if it was moved away."""
        return self.root / "previous_output"

    def owner(self) -> str:
        """Whose attempt it is while it is under way; empty when it is over or nobody's."""
        try:
            return (self.root / OWNER_NAME).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return ""

    def keep(self) -> None:
        """Leave the folder as it is, to be looked at."""
        (self.root / OWNER_NAME).unlink(missing_ok=True)

    def write(self, filename: str, content: bytes) -> Path:
        """Write a file of this attempt atomically."""
        write_bytes(self.root / filename, content)
        return self.root / filename

    def discard(self) -> None:
        """Remove what was temporary; a former output that moved here stays: it may be the only copy."""
        root, kept = self.root, self.previous_output
        names = os.listdir(root) if root.is_dir() else []
        for name in sorted(names, key=OWNER_NAME.__eq__):  # last: it finds the rest again
            if name != kept.name or not any(kept.iterdir()):
                remove_tree(root / name)
        if kept.name not in names or not kept.exists():
            remove_tree(root)
