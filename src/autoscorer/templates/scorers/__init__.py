"""The scorers that `autoscorer scorers new NAME` hands out: one folder here is one task."""

from __future__ import annotations

import difflib
import importlib.util
import keyword
import os
import re
from pathlib import Path

from autoscorer.utils.artifacts import write_bytes
from autoscorer.utils.errors import AutoscorerError

_FOLDER = Path(__file__).parent
_MODULE, _CLASS = "my_scorer", "MyScorer"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def task_names() -> list[str]:
    """The tasks there is a scorer for, in order: the folders here that hold one."""
    return sorted(path.parent.name for path in _FOLDER.glob(f"*/{_MODULE}.py"))


def write_scorer(name: str, task: str, folder: Path) -> list[Path]:
    """Write `NAME.py`, a scorer for ``task``, and `test_NAME.py` into ``folder``; returns both.

    The folder is made if it is not there. Raises AutoscorerError CONFIG_VALIDATION_ERROR for an unknown task,
    for a name that is none for a module, and rather than writing over anything.
    """
    source = _folder_of(task)
    check_name(name)
    files = {f"{name}.py": f"{_MODULE}.py", f"test_{name}.py": f"test_{_MODULE}.py"}
    for target in files:
        if os.path.lexists(folder / target):
            raise _fault(f"{target} is there already: nothing was written")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for target, template in files.items():
            text = (source / template).read_text(encoding="utf-8")
            text = text.replace(_MODULE, name).replace(_CLASS, _class_name(name))
            write_bytes(folder / target, text.encode())
    except OSError as exc:
        raise _fault(f"{folder.name}/ cannot be written: {exc.strerror}") from exc
    return [folder / target for target in files]


def check_name(name: str) -> None:
    """Raises AutoscorerError CONFIG_VALIDATION_ERROR unless a scorer and its module can be called so."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise _fault(f"{name!r} is no name for a scorer: lower-case letters, digits and _, such as my_metric")
    if name.startswith("test_"):
        raise _fault(f"{name!r}: what begins with test_ is a test; choose another name")
    if importlib.util.find_spec(name) is not None:
        raise _fault(f"{name!r} is a Python module already, and would be hidden; choose another name")


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _folder_of(task: str) -> Path:
    known = task_names()
    if task not in known:
        near = difflib.get_close_matches(task, known, n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise _fault(f"there is no scorer for {task!r}; {guess}Known: {', '.join(known)}")
    return _FOLDER / task


def _fault(message: str) -> AutoscorerError:
    return AutoscorerError("CONFIG_VALIDATION_ERROR", message, cause="workspace")
