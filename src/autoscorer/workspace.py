"""The folder contract: where the parts of a workspace are, its attempts, its lock.

meta.json   the job specification            input/      data, shown read-only to the program
reference/  the truth, never shown           output/     what was delivered or harvested, result.json
logs/       container and job logs           .attempts/  one folder per attempt, ours
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoscorer.schemas.job import JobSpec, SpecFault, spec_error
from autoscorer.utils.artifacts import open_regular, remove_tree, write_bytes
from autoscorer.utils.errors import AutoscorerError

MAX_SPEC_BYTES = 2**20
LOCK_NAME = ".autoscorer.lock"
TRUTH_NAMES = ("gt.csv", "gt.json")
# O_NONBLOCK: a pipe of that name must not make us wait.
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
OUR_FOLDERS = ("output", "logs", ".attempts")


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

    def structure_faults(self) -> list[SpecFault]:
        """What is wrong with the folder itself, apart from `meta.json`."""
        faults = [
            SpecFault(f"{name}/", "is a link; the platform writes there and follows no links")
            for name in OUR_FOLDERS
            if (self.root / name).is_symlink()
        ]
        faults += [
            SpecFault(f"{name}/", "is not a folder")
            for name in ("input", "reference", *OUR_FOLDERS)
            if os.path.lexists(self.root / name) and not (self.root / name).is_dir()
        ]
        faults += [
            SpecFault(f"{name}/", "is not writable by this user")
            for name in (".", *OUR_FOLDERS)
            if (self.root / name).is_dir() and not os.access(self.root / name, os.W_OK | os.X_OK)
        ]
        return faults

    def truth_paths(self) -> list[Path]:
        """Where the truth really lies: `reference/` and what links in it lead to."""
        entries = list(self.reference_dir.iterdir()) if self.reference_dir.is_dir() else []
        return [Path(os.path.realpath(path)) for path in (self.reference_dir, *entries)]

    def exposed_truth(self, shown: Path, names: Sequence[str] = TRUTH_NAMES) -> list[str]:
        """Truth files, called ``names``, the program can read in ``shown``, which it gets as `input/`."""
        there = [f"input/{name}" for name in names if os.path.lexists(shown / name)]
        linked = [
            f"reference/{path.name}"
            for path in (self.reference_dir.iterdir() if self.reference_dir.is_dir() else ())
            if Path(os.path.realpath(path)).is_relative_to(shown)
        ]
        return there + linked

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the workspace alone; raises WORKSPACE_BUSY naming the holder's process."""
        faults = self.structure_faults()
        if faults:
            raise spec_error(faults, cause="workspace")
        try:
            descriptor = os.open(self.root / LOCK_NAME, _LOCK_FLAGS, 0o644)
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                os.close(descriptor)
                raise OSError(errno.EINVAL, "it is no plain file of its own")
        except OSError as exc:
            fault = SpecFault(LOCK_NAME, f"cannot be opened: {exc.strerror}")
            raise spec_error([fault], cause="workspace") from exc
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                raise AutoscorerError(
                    "WORKSPACE_BUSY",
                    f"process {holder or 'unknown'} is working on this workspace",
                    {"pid": holder},
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def new_attempt(self) -> Attempt:
        """A fresh, private folder for one attempt; numbers only grow."""
        self.attempts_dir.mkdir(exist_ok=True)
        names = [entry.name for entry in self.attempts_dir.iterdir()]
        numbers = [int(name) for name in names if name.isascii() and name.isdecimal() and len(name) < 10]
        for number in numbers:
            with suppress(OSError):  # an empty one is what a run that was killed at once has left
                Attempt(self, number).root.rmdir()
        attempt = Attempt(self, max(numbers, default=0) + 1)
        attempt.root.mkdir(mode=0o700)
        return attempt

    def _read_spec(self) -> bytes:
        try:
            descriptor = open_regular(self.spec_path, follow_links=False)
        except FileNotFoundError:
            raise spec_error([SpecFault("meta.json", "is missing")]) from None
        except OSError as exc:
            fault = SpecFault("meta.json", f"is not a readable regular file ({exc.strerror})")
            raise spec_error([fault]) from exc
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(MAX_SPEC_BYTES + 1)
        if len(content) > MAX_SPEC_BYTES:
            raise spec_error([SpecFault("meta.json", f"is larger than {MAX_SPEC_BYTES} bytes")])
        return content


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

    def publish(self, fresh: Path, output_dir: Path) -> None:
        """Make ``fresh`` the workspace's output; the former output moves into this attempt."""
        if os.path.lexists(output_dir):
            output_dir.rename(self.root / "previous_output")
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(output_dir)

    def write(self, filename: str, content: bytes) -> Path:
        """Write a file of this attempt atomically."""
        write_bytes(self.root / filename, content)
        return self.root / filename

    def discard(self) -> None:
        """Remove what was temporary; a former output that moved here stays: it may be the only copy."""
        kept = self.root / "previous_output"
        for entry in list(self.root.iterdir()) if self.root.is_dir() else []:
            if entry != kept or not any(kept.iterdir()):
                remove_tree(entry)
        if not kept.exists():
            remove_tree(self.root)
