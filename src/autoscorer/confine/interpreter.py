"""The Python that `python` in a command finds: the base interpreter, never our virtual environment."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
_PARTS = ("bin", "lib", "lib64", "libexec", "share")


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """``trees`` are the folders it lives in; ``aliases`` the names that it lacks and what they mean."""

    bin_dir: Path
    trees: tuple[Path, ...]
    aliases: Mapping[str, Path]

    def search_path(self, alias_dir: str) -> str:
        """A PATH on which ``python`` and ``python3`` are found."""
        extra = [alias_dir] if self.aliases else []
        return ":".join(dict.fromkeys([str(self.bin_dir), *extra, *SYSTEM_PATH]))


def find_interpreter(prefix: Path | None = None) -> Interpreter:
    """The interpreter installed at ``prefix`` (default: the one we run on, below any virtual environment).

    Of the prefix only the folders an interpreter has are named: it may be somebody's home.
    """
    prefix = Path(sys.base_prefix) if prefix is None else prefix
    bin_dir = prefix / "bin"
    versioned = bin_dir / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return Interpreter(
        bin_dir=bin_dir,
        trees=tuple(prefix / part for part in _PARTS if (prefix / part).is_dir()),
        aliases={name: versioned for name in ("python", "python3") if not (bin_dir / name).exists()},
    )
