"""Loads that are killed at every step they make on disk, and what the store is afterwards.

``python -m tests.scorers.library.killed_loads FOLDER``: a fork of this process loads FOLDER/mine.py and
kills itself at its first step, another one at its second, until one comes to its end. One JSON line each.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from autoscorer.scorers.library import Library
from tests.scorers.library.sources import check_here, scorer_text, write

STEPS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "fcntl.flock", "os.listdir")


def main(folder: Path) -> None:
    library = Library(folder / "data", check_here, needed=lambda _pins: ())
    mine = write(folder / "mine.py", scorer_text(version="0"))
    library.load(mine)
    step, killed = 0, True
    while killed:
        step += 1
        before = _served(library)
        write(mine, scorer_text(version=str(step)))
        killed = _load_killed_at(step, library, mine)
        after = _served(library)
        left = sorted(path.name for path in (folder / "data" / "scorers" / "staging").iterdir())
        write(mine, scorer_text(version=f"{step}.mended"))
        library.load(mine)
        cleaned = not any((folder / "data" / "scorers" / "staging").iterdir())
        told = {"step": step, "killed": killed, "before": before, "after": after, "left": len(left)}
        print(json.dumps({**told, "mended": _served(library), "cleaned": cleaned}), flush=True)


def _served(library: Library) -> str | None:
    """The version that serves; its copy was found whole."""
    with library.held("mine") as entry:
        return entry.card.version if entry else None


def _load_killed_at(step: int, library: Library, mine: Path) -> bool:
    pid = os.fork()
    if pid == 0:
        left = step

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in STEPS and not (event == "open" and str(arguments[0]).endswith((".py", ".pyc"))):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        library.load(mine)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


if __name__ == "__main__":
    main(Path(sys.argv[1]))
