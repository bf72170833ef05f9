"""A scorer is its content: loaded by a copy, found by name and by hash, kept while somebody needs it."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Collection
from pathlib import Path

import pytest

from autoscorer.scorers.library import Library
from autoscorer.scorers.library.names import KEPT_VERSIONS
from autoscorer.utils.errors import AutoscorerError
from tests.scorers.library.conftest import Fault, Jobs, staged
from tests.scorers.library.sources import RESERVED, check_here, refusal, scorer_text, write

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them


def version_of(library: Library, name: str) -> str | None:
    entry = library.find(name)
    return entry.card.version if entry else None


def edit(path: Path, number: int) -> str:
    """Another version of the scorer; gives its SHA-256."""
    write(path, scorer_text(version=str(number)))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_loaded_file_is_found_by_name_and_is_its_bytes(library: Library, mine: Path) -> None:
    (card,) = library.load(mine).cards
    entry = library.find("mine")
    assert entry is not None
    assert entry.card == card
    assert entry.instance is None
    assert card.sha256 == hashlib.sha256(mine.read_bytes()).hexdigest()
    assert entry.code.path is not None
    assert entry.code.path.read_bytes() == mine.read_bytes()


def test_what_one_process_loads_another_finds(library: Library, mine: Path, tmp_path: Path) -> None:
    library.load(mine)
    assert version_of(Library(tmp_path / "data", check_here), "mine") == "1"


def test_an_edit_means_nothing_until_it_is_loaded(library: Library, mine: Path) -> None:
    library.load(mine)
    edit(mine, 2)
    assert version_of(library, "mine") == "1"
    library.reload("mine")
    assert version_of(library, "mine") == "2"


def test_a_pin_finds_exactly_its_content(library: Library, mine: Path) -> None:
    first, second = library.load(mine).cards[0].sha256, edit(mine, 2)
    library.load(mine)
    assert (version_of(library, f"mine@{first}"), version_of(library, f"mine@{second}")) == ("1", "2")
    assert library.find(f"mine@{'0' * 64}") is None
    assert library.find(f"other@{first}") is None


def test_versions_are_listed_newest_first_and_a_return_to_an_old_content_is_no_new_one(
    library: Library, mine: Path
) -> None:
    for number in (1, 2, 1):
        edit(mine, number)
        library.load(mine)
    assert [version.version for version in library.history("mine").versions] == ["1", "2"]


def test_an_alias_finds_the_scorer(library: Library, tmp_path: Path) -> None:
    library.load(write(tmp_path / "mine.py", scorer_text(aliases='("my",)')))
    entry = library.find("my")
    assert entry is not None
    assert (entry.card.name, entry.card.aliases) == ("mine", ("my",))
    assert library.names() == {"mine", "my"}


def test_one_file_may_hold_several_scorers(library: Library, tmp_path: Path) -> None:
    second = scorer_text("second").replace("class Mine", "class Second")
    path = write(tmp_path / "both.py", scorer_text() + second)
    assert [card.name for card in library.load(path).cards] == ["mine", "second"]
    write(path, scorer_text(version="2"))
    loaded = library.load(path)
    assert loaded.left == ("second",)
    assert (version_of(library, "mine"), version_of(library, "second")) == ("2", "1")


def test_a_package_is_all_its_files(library: Library, tmp_path: Path) -> None:
    write(tmp_path / "pack" / "__init__.py", "from .part import *\n")
    part = write(tmp_path / "pack" / "part.py", scorer_text())
    first = library.load(tmp_path / "pack").cards[0]
    write(part, scorer_text(version="2"))
    second = library.load(tmp_path / "pack" / "__init__.py").cards[0]
    assert (first.version, second.version) == ("1", "2")
    assert first.sha256 != second.sha256


def test_caches_and_hidden_files_are_no_part_of_a_package(library: Library, tmp_path: Path) -> None:
    write(tmp_path / "pack" / "__init__.py", scorer_text())
    first = library.load(tmp_path / "pack").cards[0].sha256
    write(tmp_path / "pack" / "__pycache__" / "x.pyc", "x")
    write(tmp_path / "pack" / ".part.py.swp", "x")
    assert library.load(tmp_path / "pack").cards[0].sha256 == first


def test_unloaded_is_not_found_but_by_its_hash(library: Library, mine: Path) -> None:
    card = library.load(mine).cards[0]
    assert library.unload("mine") == card
    assert library.find("mine") is None
    assert library.entries() == []
    assert version_of(library, card.pin) == "1"
    with pytest.raises(AutoscorerError, match="no loaded scorer is called 'mine'"):
        library.unload("mine")


@pytest.mark.parametrize("name", ["classification_f1", "classification_acc"])
def test_a_newcomer_takes_a_built_in_name_by_word_only(library: Library, mine: Path, name: str) -> None:
    write(mine, scorer_text(name))
    error = refusal(library, mine)
    assert error.cause == "name_taken"
    assert "--replace" in error.message
    assert library.find(name) is None
    assert library.load(mine, replace=True).replaced == {name: RESERVED[name]}
    write(mine, scorer_text(name, version="2"))
    library.load(mine)  # it has the name by now
    assert version_of(library, name) == "2"


def test_two_files_with_one_name_need_a_word(
    library: Library, mine: Path, tmp_path: Path, fault: Fault
) -> None:
    record = fault("two files with one name")
    library.load(mine)
    other = write(tmp_path / "other.py", scorer_text(version="2"))
    error = refusal(library, other)
    assert error.cause == "name_taken"
    assert "the scorer loaded from mine.py" in error.message
    assert version_of(library, "mine") == "1"
    library.load(other, replace=True)
    assert version_of(library, "mine") == "2"
    record.worked()
    edit(mine, 3)
    assert refusal(library, mine).cause == "name_taken"
    record.left(staged(tmp_path))
    record.contained()


def test_an_alias_takes_a_name_by_word_only(library: Library, mine: Path, tmp_path: Path) -> None:
    library.load(mine)
    other = write(tmp_path / "other.py", scorer_text("other", aliases='("mine",)'))
    assert refusal(library, other).cause == "name_taken"
    library.load(other, replace=True)
    entry = library.find("mine")
    assert entry is not None
    assert entry.card.name == "other"


def test_a_name_may_be_taken_from_an_alias_by_word(library: Library, mine: Path, tmp_path: Path) -> None:
    library.load(write(tmp_path / "other.py", scorer_text("other", aliases='("mine",)')))
    assert refusal(library, mine).cause == "name_taken"
    library.load(mine, replace=True)
    other = library.find("other")
    assert other is not None
    assert other.card.aliases == ()
    assert version_of(library, "mine") == "1"


def test_a_file_that_was_moved_is_the_same_scorer(library: Library, mine: Path) -> None:
    library.load(mine)
    moved = mine.rename(mine.with_name("moved.py"))
    library.load(moved)
    assert library.source_of("mine") == moved


def test_old_versions_go_and_the_last_few_stay(library: Library, mine: Path, tmp_path: Path) -> None:
    hashes = []
    for number in range(KEPT_VERSIONS + 3):
        hashes.append(edit(mine, number))
        library.load(mine)
    kept = [version.sha256 for version in library.history("mine").versions]
    assert kept == hashes[:2:-1]
    assert {path.name for path in (tmp_path / "data/scorers/objects").iterdir()} == set(kept)
    assert library.find(f"mine@{hashes[0]}") is None


def test_a_version_that_a_job_names_stays_until_none_does(library: Library, mine: Path, jobs: Jobs) -> None:
    card = library.load(mine).cards[0]
    jobs.pins.add(card.pin)
    for number in range(2, KEPT_VERSIONS + 4):
        edit(mine, number)
        library.load(mine)
    assert version_of(library, card.pin) == "1"
    assert library.collect_garbage() == []
    jobs.pins.clear()
    assert library.collect_garbage() == [card.sha256]
    assert library.find(card.pin) is None


def test_jobs_are_asked_about_old_versions_only(library: Library, mine: Path, jobs: Jobs) -> None:
    first = library.load(mine).cards[0]
    for number in range(2, KEPT_VERSIONS + 1):
        edit(mine, number)
        library.load(mine)
    library.collect_garbage()
    assert jobs.asked == []
    edit(mine, KEPT_VERSIONS + 1)
    library.load(mine)
    assert jobs.asked == [{first.pin}]


def test_a_version_of_one_name_stays_though_its_content_is_kept_for_another_name_anyway(
    library: Library, mine: Path, tmp_path: Path, jobs: Jobs
) -> None:
    both = write(tmp_path / "scorers" / "both.py", scorer_text() + scorer_text("other"))
    pins = {card.name: card.pin for card in library.load(both).cards}
    for number in range(2, KEPT_VERSIONS + 3):
        edit(mine, number)
        library.load(mine, replace=True)
        jobs.pins.add(pins["mine"])
    assert version_of(library, pins["mine"]) == "1"
    assert version_of(library, pins["other"]) == "1"
    jobs.pins.clear()
    assert library.collect_garbage() == []
    assert library.find(pins["mine"]) is None
    assert version_of(library, pins["other"]) == "1"


def test_whoever_does_not_know_which_jobs_there_are_removes_nothing(
    library: Library, mine: Path, tmp_path: Path
) -> None:
    ignorant = Library(tmp_path / "data", check_here)
    pin = ignorant.load(mine).cards[0].pin
    for number in range(2, KEPT_VERSIONS + 4):
        edit(mine, number)
        ignorant.load(mine)
    assert version_of(ignorant, pin) == "1"
    assert len(library.collect_garbage()) == 3  # the control: who knows does


def test_a_job_made_while_old_versions_are_looked_for_finds_its_own_or_the_new_one(
    mine: Path, tmp_path: Path
) -> None:
    """Whoever wants the version while it is asked about waits, and finds it gone rather than half there."""
    found: list[object] = []

    def asked(_pins: Collection[str]) -> set[str]:
        late.start()
        return set()

    def hold() -> None:
        with library.held(pin) as entry:
            found.append(entry)

    library = Library(tmp_path / "data", check_here, needed=asked)
    late = threading.Thread(target=hold)
    pin = library.load(mine).cards[0].pin
    for number in range(2, KEPT_VERSIONS + 2):
        edit(mine, number)
        library.load(mine)
    late.join()
    assert found == [None]


def test_a_version_in_use_stays_until_its_score_ends(library: Library, mine: Path) -> None:
    library.load(mine)
    with library.held("mine") as entry:
        assert entry is not None
        assert entry.code.path is not None
        for number in range(2, KEPT_VERSIONS + 4):
            edit(mine, number)
            library.load(mine)
        assert entry.code.path.exists()
        assert library.find(entry.card.pin) is not None  # a job that is being made may name it next
    assert entry.card.sha256 in library.collect_garbage()
    assert not entry.code.path.exists()


def test_what_a_damaged_copy_would_score_is_refused(library: Library, mine: Path) -> None:
    library.load(mine)
    entry = library.find("mine")
    assert entry is not None
    assert entry.code.path is not None
    entry.code.path.chmod(0o600)
    entry.code.path.write_text(scorer_text(value=1.0))
    with pytest.raises(AutoscorerError, match="damaged"), library.held("mine"):
        pass
    library.load(mine)
    with library.held("mine") as held:
        assert held is not None


def test_a_damaged_index_is_named(library: Library, mine: Path, tmp_path: Path) -> None:
    library.load(mine)
    (tmp_path / "data/scorers/index.json").write_text('{"names": 5}')
    with pytest.raises(AutoscorerError, match="remove it and load the scorers again") as caught:
        library.find("mine")
    assert (caught.value.code, caught.value.blame) == ("RESOURCE_UNAVAILABLE", "operator")


def test_a_card_of_another_version_of_ours_can_be_read(library: Library, mine: Path, tmp_path: Path) -> None:
    sha256 = library.load(mine).cards[0].sha256
    cards = tmp_path / "data/scorers/objects" / sha256 / "cards.json"
    cards.write_text(json.dumps([{**json.loads(cards.read_text())[0], "of_the_future": 1}]))
    assert version_of(library, "mine") == "1"


def test_the_store_is_for_its_owner_alone(library: Library, mine: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        library.load(mine)
    finally:
        os.umask(before)
    root = tmp_path / "data" / "scorers"
    for path in (tmp_path / "data", root, root / "objects", root / "index.json"):
        assert path.stat().st_mode & 0o077 == 0, path
    root.chmod(0o777)
    with pytest.raises(AutoscorerError, match="not this user's alone"):
        library.find("mine")
    with pytest.raises(AutoscorerError, match="not this user's alone"):
        library.load(mine)


def test_where_nothing_can_be_kept_it_is_said(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(AutoscorerError, match="cannot be kept in DATA_DIR") as caught:
        Library(tmp_path / "data", check_here).load(mine)
    assert caught.value.code == "RESOURCE_UNAVAILABLE"


def test_an_empty_store_is_no_fault_and_looking_makes_nothing(library: Library, tmp_path: Path) -> None:
    assert library.find("mine") is None
    assert (library.entries(), library.names(), library.failures()) == ([], set(), {})
    assert not (tmp_path / "data").exists()


def test_a_pin_outlives_that_another_scorer_takes_its_name_as_an_alias(
    library: Library, mine: Path, tmp_path: Path
) -> None:
    pin = library.load(mine).cards[0].pin
    library.load(write(tmp_path / "other.py", scorer_text("other", aliases="('mine',)")), replace=True)
    found = library.find("mine"), library.find(pin)
    assert [entry and entry.card.name for entry in found] == ["other", "mine"]


def test_a_package_with_folders_is_whole_under_any_umask(library: Library, tmp_path: Path) -> None:
    """Our own copy, open to others by the umask, would be refused as damaged."""
    write(tmp_path / "scorers/pack/sub/deeper/__init__.py", "")
    write(tmp_path / "scorers/pack/__init__.py", scorer_text())
    before = os.umask(0)
    try:
        sha256 = library.load(tmp_path / "scorers/pack").cards[0].sha256
    finally:
        os.umask(before)
    with library.held("mine") as entry:
        assert entry is not None
    code = tmp_path / "data/scorers/objects" / sha256 / "code"
    assert {path.stat().st_mode & 0o777 for path in (code, *code.rglob("*/"))} >= {0o700}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (code, *code.rglob("*")) if path.is_dir())
