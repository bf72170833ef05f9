"""What of this machine a program gets to see, said once for every way to run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_ENV = {"LANG": "C.UTF-8", "USER": "nobody", "LOGNAME": "nobody"}


@dataclass(frozen=True, kw_only=True)
class View:
    """The workspace of one program. ``home_dir`` is ours; ``hidden`` must not be seen wherever it lies."""

    input_dir: Path
    out_dir: Path
    spec_path: Path
    home_dir: Path
    tmp_bytes: int
    shm_bytes: int
    hidden: tuple[Path, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
