"""A watched scorer is the one on disk a moment ago; a faulty edit is told once and changes nothing."""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoscorer.scorers.library import Library, watching
from autoscorer.scorers.library.watching import Event, Watching
from autoscorer.utils.errors import AutoscorerError
from tests.scorers.library.sources import scorer_text, write

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them

MOST_S = 30.0


class Watched:
    """A watch and what it has told."""

    def __init__(self, library: Library, path: Path) -> None:
        self.library = library
        self._events: queue.Queue[Event] = queue.Queue()
        self.watching = Watching(library, path, self._events.put)

    def next(self) -> Event:
        return self._events.get(timeout=MOST_S)

    def until(self, wanted: Callable[[Event], bool]) -> Event:
        """The next event that is wanted; how many notices an edit makes is the kernel's affair."""
        while not wanted(event := self.next()):
            pass
        return event

    def version(self, name: str = "mine") -> str | None:
        entry = self.library.find(name)
        return entry.card.version if entry else None

    @property
    def is_quiet(self) -> bool:
        return self._events.empty()


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_INTERVAL_S", 0.25)


Start = Callable[[Path], Watched]


@pytest.fixture
def start(library: Library) -> Iterator[Start]:
    started: list[Watched] = []

    def start(path: Path) -> Watched:
        started.append(Watched(library, path))
        return started[-1]

    yield start
    for watched in started:
        watched.watching.stop()


def loaded(event: Event) -> list[str]:
    return [card.version for card in event.loaded.cards] if event.loaded else []


@pytest.mark.parametrize("of", ["file", "folder"])
def test_an_edit_is_loaded(mine: Path, start: Start, of: str) -> None:
    watched = start(mine if of == "file" else mine.parent)
    assert loaded(watched.next()) == ["1"]
    write(mine, scorer_text(version="2"))
    watched.until(lambda event: loaded(event) == ["2"])
    assert watched.version() == "2"


def test_a_file_that_an_editor_replaces_is_loaded_again_and_again(mine: Path, start: Start) -> None:
    watched = start(mine)
    for version in "234":
        write(mine.with_name(".mine.swp"), scorer_text(version=version)).replace(mine)
        watched.until(lambda event, version=version: loaded(event) == [version])  # type: ignore[misc]


def test_a_new_file_is_loaded_and_a_helper_or_test_beside_it_is_not(mine: Path, start: Start) -> None:
    write(mine.with_name("helper.py"), "x = 1\n")
    write(mine.with_name("test_mine.py"), "from mine import Mine\n")
    watched = start(mine.parent)
    assert loaded(watched.next()) == ["1"]
    other = write(mine.with_name("other.py"), scorer_text("other", version="7"))
    event = watched.until(lambda event: event.source == other and event.error is None)
    assert loaded(event) == ["7"]
    assert watched.library.failures() == {}


def test_a_package_in_a_watched_folder_is_loaded_when_its_helper_changes(
    tmp_path: Path, start: Start
) -> None:
    text = scorer_text(version="VERSION").replace('"VERSION"', "VERSION")
    write(tmp_path / "scorers/pack/__init__.py", "from .part import VERSION\n" + text)
    helper = write(tmp_path / "scorers/pack/part.py", "VERSION = '1'\n")
    watched = start(tmp_path / "scorers")
    assert loaded(watched.next()) == ["1"]
    write(helper, "VERSION = '2'\n")
    watched.until(lambda event: loaded(event) == ["2"])


def test_a_fault_is_told_once_and_mended_by_the_next_edit(mine: Path, start: Start) -> None:
    watched = start(mine)
    watched.next()
    write(mine, "def broken(:\n")
    event = watched.until(lambda event: event.error is not None)
    assert (
        event.text == "mine.py: SCORER_NOT_FOUND: mine.py, line 1: cannot be read as Python: invalid syntax"
    )
    assert watched.version() == "1"
    write(mine, scorer_text(version="2"))
    event = watched.until(lambda event: "line 1" not in event.text)  # no second word on the same fault
    assert loaded(event) == ["2"]
    assert event.text.startswith("mine.py: loaded mine 2 (")


def test_a_deleted_file_is_told_and_goes_on_serving(mine: Path, start: Start) -> None:
    watched = start(mine.parent)
    watched.next()
    mine.unlink()
    event = watched.until(lambda event: event.error is not None)
    assert "does not exist" in event.text
    assert watched.version() == "1"
    write(mine, scorer_text(version="2"))
    watched.until(lambda event: loaded(event) == ["2"])


def test_an_edit_that_no_time_and_no_size_tells_is_loaded(mine: Path, start: Start) -> None:
    watched = start(mine)
    watched.next()
    before = mine.stat()
    write(mine, scorer_text(version="2"))
    os.utime(mine, ns=(before.st_atime_ns, before.st_mtime_ns))
    watched.until(lambda event: loaded(event) == ["2"])


def test_an_edit_without_a_notice_is_found_at_the_next_look(
    mine: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = threading.Event()

    def silent(*_paths: Path, stop_event: threading.Event, **_options: object) -> Iterator[set[object]]:
        while not stop_event.is_set():
            if look.wait(0.01):
                yield set()

    monkeypatch.setattr("watchfiles.watch", silent)
    watched = start(mine)
    watched.next()
    write(mine, scorer_text(version="2"))
    look.set()
    watched.until(lambda event: loaded(event) == ["2"])


def test_of_two_files_with_one_name_the_first_keeps_it(mine: Path, start: Start) -> None:
    twin = write(mine.with_name("twin.py"), scorer_text(version="2"))
    watched = start(mine.parent)
    assert loaded(watched.next()) == ["1"]
    event = watched.next()
    assert (event.source, event.error.cause if event.error else "") == (twin, "name_taken")
    assert watched.version() == "1"


def test_what_was_unloaded_stays_so_until_it_is_edited(mine: Path, library: Library, start: Start) -> None:
    first = start(mine.parent)
    first.next()
    first.watching.stop()
    library.unload("mine")
    watched = start(mine.parent)
    other = write(mine.with_name("other.py"), scorer_text("other"))
    assert watched.next().source == other
    assert watched.version() is None
    write(mine, scorer_text(version="2"))
    watched.until(lambda event: loaded(event) == ["2"])


def test_a_folder_that_others_can_write_to_is_not_watched(mine: Path, library: Library) -> None:
    mine.parent.chmod(0o777)
    with pytest.raises(AutoscorerError, match="chmod go-w scorers") as caught:
        Watching(library, mine.parent)
    assert caught.value.cause == "refused"
    mine.parent.chmod(0o755)
    Watching(library, mine.parent).stop()


def test_a_folder_that_is_opened_to_others_is_looked_at_no_more(mine: Path, start: Start) -> None:
    watched = start(mine.parent)
    watched.next()
    mine.parent.chmod(0o777)
    write(mine, scorer_text(version="2"))
    event = watched.until(lambda event: event.error is not None)
    assert event.source == mine.parent
    assert watched.version() == "1"
    mine.parent.chmod(0o755)
    watched.until(lambda event: loaded(event) == ["2"])


def test_what_is_not_there_is_not_watched(tmp_path: Path, library: Library) -> None:
    with pytest.raises(AutoscorerError, match="does not exist"):
        Watching(library, tmp_path / "nothing")


def test_a_watch_outlives_its_folder(mine: Path, start: Start) -> None:
    watched = start(mine.parent)
    watched.next()
    shutil.rmtree(mine.parent)
    assert "does not exist" in watched.until(lambda event: event.error is not None).text
    write(mine, scorer_text(version="2"))
    watched.until(lambda event: loaded(event) == ["2"])


def test_a_stopped_watch_has_ended_and_may_be_stopped_again(mine: Path, library: Library) -> None:
    before = threading.active_count()
    with Watching(library, mine) as watching:
        assert threading.active_count() == before + 1
    watching.stop()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("fault", "told"),
    [(PermissionError(13, "Permission denied"), "SCORER_NOT_FOUND"), (TypeError(), "INTERNAL_ERROR")],
)
def test_a_watch_outlives_what_nobody_expected(
    mine: Path, library: Library, start: Start, monkeypatch: pytest.MonkeyPatch, fault: Exception, told: str
) -> None:
    watched = start(mine)
    watched.until(lambda event: loaded(event) == ["1"])

    def faulty(_path: Path, **_more: bool) -> None:
        raise fault

    with monkeypatch.context() as patched:
        patched.setattr(library, "refresh", faulty)
        watched.until(lambda event: event.error is not None and event.error.code == told)
    write(mine, scorer_text(version="2"))
    watched.until(lambda event: loaded(event) == ["2"])
