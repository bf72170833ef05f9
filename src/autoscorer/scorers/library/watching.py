"""Watching a folder of scorers, or one: a change on disk is a hint, the content decides.

The kernel's notices make it quick; every few seconds all is looked at anyway, since a notice can be lost
(a network file system, a folder that was replaced). Times and sizes on disk are never believed.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from autoscorer.scorers.library.library import Library, Loaded
from autoscorer.scorers.library.sources import MAX_BYTES, check_folder, source_path, unloadable
from autoscorer.utils.errors import AutoscorerError

LOOK_INTERVAL_S = 2.0
_SETTLE_MS, _LONGEST_WAIT_MS = 50, 400
_MARK = b"register("


@dataclass(frozen=True, kw_only=True)
class Event:
    """A source was loaded, or could not be; then what it was before goes on serving."""

    source: Path
    loaded: Loaded | None = None
    error: AutoscorerError | None = None

    @property
    def text(self) -> str:
        if self.error is not None:
            return f"{self.source.name}: {self.error}"
        cards = self.loaded.cards if self.loaded else []
        told = ", ".join(f"{card.name} {card.version} ({card.sha256[:12]})" for card in cards)
        return f"{self.source.name}: loaded {told}"


def watch(
    library: Library, path: str | Path, *, stop: threading.Event, tell: Callable[[Event], None]
) -> None:
    """Load what is at ``path`` and again whenever it changes, until ``stop`` is set.

    ``path`` is a file, a package folder, or a folder of them. ``tell`` hears every event. Raises
    AutoscorerError SCORER_NOT_FOUND: there is nothing, or others could write to the folder.
    """
    from watchfiles import watch as notices

    target = _checked(path)
    # An editor replaces a file by another one: only its folder hears of that.
    watched = target if target.is_dir() else target.parent
    look = _Look(library, target, tell)
    look.take(again=True)
    for _ in notices(
        watched,
        stop_event=stop,
        step=_SETTLE_MS,
        debounce=_LONGEST_WAIT_MS,
        rust_timeout=int(LOOK_INTERVAL_S * 1000),
        yield_on_timeout=True,
        recursive=target.is_dir(),
        ignore_permission_denied=True,
    ):
        look.take()


class Watching:
    """A watch in a thread of its own, until `stop`. A context manager as well. Raises as `watch`."""

    def __init__(
        self, library: Library, path: str | Path, tell: Callable[[Event], None] = lambda _event: None
    ) -> None:
        _checked(path)
        self._stop = threading.Event()
        arguments = {"stop": self._stop, "tell": tell}
        self._thread = threading.Thread(
            target=watch, args=(library, path), kwargs=arguments, name="autoscorer-watch", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the watch and wait for a load under way. Safe to call twice."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()


def _checked(path: str | Path) -> Path:
    """What is to be watched, found fit for it."""
    target = source_path(path)
    if _is_folder_of_scorers(target):
        check_folder(target)
    elif not target.exists():
        raise unloadable(target, "does not exist")
    return target


class _Look:
    """One look after another at what is watched. A fault is told once, not at every look."""

    def __init__(self, library: Library, target: Path, tell: Callable[[Event], None]) -> None:
        self._library, self._target, self._tell = library, target, tell
        self._told: dict[Path, str] = {}

    def take(self, *, again: bool = False) -> None:
        """Load what has changed since the last look; with ``again`` also what failed then."""
        with self._told_once(self._target):
            if _is_folder_of_scorers(self._target):
                check_folder(self._target)
            for source in _sources(self._library, self._target):
                with self._told_once(source):
                    loaded = self._library.refresh(source, again=again)
                    if loaded is not None:
                        self._tell(Event(source=source, loaded=loaded))

    @contextmanager
    def _told_once(self, source: Path) -> Iterator[None]:
        try:
            yield
            self._told.pop(source, None)
        except AutoscorerError as exc:
            self._tell_error(source, exc)
        except OSError as exc:
            self._tell_error(source, unloadable(source, f"cannot be looked at ({exc.strerror})"))
        except Exception as exc:  # boundary: a task; a fault of ours in one look must not end the watch
            message = f"unexpected {type(exc).__name__} in the platform"
            self._tell_error(source, AutoscorerError("INTERNAL_ERROR", message))

    def _tell_error(self, source: Path, error: AutoscorerError) -> None:
        if self._told.get(source) != str(error):
            self._told[source] = str(error)
            self._tell(Event(source=source, error=error))


def _sources(library: Library, target: Path) -> list[Path]:
    """What is to be looked at: in a folder all that registers something, or did when it was loaded."""
    if not _is_folder_of_scorers(target):
        return [target]
    serving = {source for source in library.sources() if source.parent == target}
    return sorted(serving | set(_candidates(target)))


def _candidates(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir() if folder.is_dir() else ():
        files = [path] if path.suffix == ".py" else path.glob("**/*.py") if _is_package(path) else ()
        if not path.name.startswith(".") and any(_registers(file) for file in files):
            yield path


def _registers(path: Path) -> bool:
    """Whether a file looks as if it had a scorer; a helper or a test beside the scorers has none."""
    try:
        status = path.stat()
        return stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES and _MARK in path.read_bytes()
    except OSError:
        return False


def _is_folder_of_scorers(path: Path) -> bool:
    return path.is_dir() and not _is_package(path)


def _is_package(path: Path) -> bool:
    return (path / "__init__.py").is_file()
