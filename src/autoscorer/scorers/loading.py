"""Importing a scorer's code, in the process made for it: what it registers, or file and line of its fault."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from autoscorer.schemas.scorer import Origin, ScorerCard
from autoscorer.scorers.catalog import card_of, faults_in
from autoscorer.scorers.host import Code
from autoscorer.scorers.registry import ScorerRegistry, load_builtin
from autoscorer.utils.errors import AutoscorerError

_MAX_MESSAGE = 500


def load_code(code: Code) -> ScorerRegistry:
    """Import ``code`` here; a registry with what it registers.

    Foreign code: only in a child. Raises AutoscorerError SCORER_NOT_FOUND (unloadable) with
    ``details.file``, ``details.line`` and, where a module was missing, ``details.missing``.
    """
    loaded = load_builtin()  # first: what the file imports of ours is not of its own
    if code.path is None:
        module = code.module or ""
        _run(lambda: importlib.import_module(module), code)
        return loaded
    path = code.path
    with loaded.recording() as recorded:
        _run(lambda: _execute(path), code)
    return recorded


def describe(code: Code, sha256: str, *, origin: Origin = "stored") -> list[ScorerCard]:
    """The cards of the scorers that ``code`` registers, at least one. Raises as `load_code`."""
    return cards_of(load_code(code), code, sha256, origin=origin)


def cards_of(loaded: ScorerRegistry, code: Code, sha256: str, *, origin: Origin) -> list[ScorerCard]:
    """The cards of the scorers in ``loaded`` that are ``code``'s, at least one."""
    names = [name for name in loaded.names() if code.path or _is_of(code, type(loaded.get(name)))]
    if not names:
        raise _fault(code, "registers no scorer; there must be a class under @register(...)", line=None)
    return [_card(loaded, name, code, sha256=sha256, origin=origin) for name in names]


def _card(loaded: ScorerRegistry, name: str, code: Code, *, sha256: str, origin: Origin) -> ScorerCard:
    aliases = tuple(loaded.aliases_of(name))
    try:
        return card_of(loaded.get(name), name=name, origin=origin, sha256=sha256, aliases=aliases)
    except ValidationError as exc:
        message = f"declares for {name} what cannot be right: {faults_in(exc)}"
        raise _fault(code, message, line=None) from exc


def _is_of(code: Code, cls: type[object]) -> bool:
    return cls.__module__.partition(".")[0] == (code.module or "").partition(".")[0]


def _execute(path: Path) -> None:
    """Import a file under a name that hides no other module, a package under its own."""
    is_package = path.is_dir()
    name = path.name if is_package else f"autoscorer_scorer_{path.stem}"
    if is_package and (name in sys.modules or name in sys.stdlib_module_names):
        raise ImportError(f"a package called {name!r} would hide another one; rename the folder")
    spec = importlib.util.spec_from_file_location(
        name,
        path / "__init__.py" if is_package else path,
        submodule_search_locations=[str(path)] if is_package else None,
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _run(importing: Callable[[], object], code: Code) -> None:
    try:
        importing()
    except SyntaxError as exc:
        name = _shown(exc.filename or "", code)
        message = f"cannot be read as Python: {exc.msg}"
        raise _fault(code, message, file=name, line=exc.lineno, example=(exc.text or "").strip()) from exc
    except AutoscorerError as exc:  # from @register
        file, line = _where(exc, code)
        raise _fault(code, exc.message, file=file, line=line) from exc
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # boundary: foreign code; native panics and sys.exit are BaseException
        file, line = _where(exc, code)
        named = exc.name if isinstance(exc, ModuleNotFoundError) else None
        missing = named if isinstance(named, str) else None
        message = f"cannot be imported: {type(exc).__name__}: {_first_line(exc)}"
        raise _fault(code, message, file=file, line=line, missing=missing) from exc


def _fault(
    code: Code,
    message: str,
    *,
    line: int | None,
    file: str | None = None,
    example: str | None = None,
    missing: str | None = None,
) -> AutoscorerError:
    name = file or (code.path.name if code.path else code.module or "")
    where = f"{name}, line {line}" if line else name
    told = {"file": name, "line": line, "example": example, "missing": missing}
    details = {key: value for key, value in told.items() if value}
    return AutoscorerError(
        "SCORER_NOT_FOUND", f"{where}: {message[:_MAX_MESSAGE]}", details, cause="unloadable"
    )


def _where(exc: BaseException, code: Code) -> tuple[str | None, int | None]:
    """File and line of the scorer's own code that the exception passed last."""
    for frame in reversed(traceback.extract_tb(exc.__traceback__)):
        if code.path is not None and Path(frame.filename).is_relative_to(code.path):
            return _shown(frame.filename, code), frame.lineno
    return None, None


def _shown(filename: str, code: Code) -> str:
    """A file of the scorer's by its name; where it lies is nobody's business."""
    path = Path(filename)
    if code.path is not None and path.is_relative_to(code.path):
        return path.relative_to(code.path.parent).as_posix()
    return path.name


def _first_line(exc: BaseException) -> str:
    return next(iter(str(exc).strip().splitlines()), "no message")
