"""Where in a scorer's own code an exception arose, without telling a path of this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any


def code_of(scorer: object) -> Path | None:
    """The file that defines the scorer's class, or the folder of its package; None if it has none."""
    module = sys.modules.get(type(scorer).__module__)
    file = getattr(module, "__file__", None)
    if file is None:
        return None
    top = sys.modules.get(type(scorer).__module__.partition(".")[0])
    folder = getattr(top, "__path__", None)
    return Path(folder[0]) if folder else Path(file)


def place_of(exc: BaseException, code: Path | None) -> dict[str, Any]:
    """``{"file", "line"}`` of the deepest line of ``code`` that ``exc`` passed; empty if it passed none.

    ``code`` is a file or a package folder; the file is told relative to it. A syntax error stands
    where it says itself.
    """
    if code is None:
        return {}
    if isinstance(exc, SyntaxError) and exc.filename and exc.lineno:
        return _told(exc.filename, exc.lineno, code) or {}
    found = [_told(file, line, code) for file, line in _lines(exc.__traceback__)]
    return next((place for place in reversed(found) if place), {})


def _lines(traceback: TracebackType | None) -> Iterator[tuple[str, int]]:
    while traceback is not None:
        yield traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
        traceback = traceback.tb_next


def _told(file: str, line: int, code: Path) -> dict[str, Any] | None:
    path = Path(file)
    if path == code:
        return {"file": code.name, "line": line}
    if path.is_relative_to(code):
        return {"file": f"{code.name}/{path.relative_to(code).as_posix()}", "line": line}
    return None
