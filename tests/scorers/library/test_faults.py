"""Whatever happens to a scorer's file, what was loaded before goes on serving and the fault is told."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.host import Code
from autoscorer.scorers.library import Library, shelf, sources
from autoscorer.scorers.library.sources import read_source
from autoscorer.utils.errors import AutoscorerError
from tests.scorers.library.conftest import Fault, staged
from tests.scorers.library.sources import check_here, refusal, scorer_text, write

pytestmark = pytest.mark.slow  # each starts processes or draws; `make test` runs them

GOOD = scorer_text()
HALF = GOOD[: len(GOOD) // 2]
TWIN = GOOD.replace("class Mine", "class Twin")


def serving(library: Library) -> str | None:
    entry = library.find("mine")
    return entry.card.version if entry else None


@pytest.mark.parametrize(
    ("name", "text", "line", "says"),
    [
        ("syntax error", "x = 1\ndef broken(:\n", 2, "cannot be read as Python"),
        ("import error", "\nimport no_such_module_anywhere\n", 2, "No module named"),
        ("missing class", GOOD.replace('@register("mine", aliases=())', ""), None, "registers no scorer"),
        ("half-written file", HALF, None, ""),
        ("empty file", "", None, "registers no scorer"),
        ("one name twice in a file", GOOD + TWIN, None, "the name of another scorer"),
    ],
)
def test_a_faulty_edit_leaves_the_last_good_one(
    library: Library,
    mine: Path,
    tmp_path: Path,
    fault: Fault,
    name: str,
    text: str,
    line: int | None,
    says: str,
) -> None:
    record = fault(name)
    library.load(mine)
    write(mine, text)
    error = refusal(library, mine)
    assert error.cause == "unloadable"
    assert says in error.message
    assert serving(library) == "1"
    failure = library.failures()[str(mine)]
    assert (failure.message, failure.file) == (error.message, "mine.py")
    assert failure.line == error.details.get("line")
    assert line is None or failure.line == line
    assert failure.sha256 == read_source(mine).sha256
    write(mine, scorer_text(version="2"))
    library.load(mine)
    assert (serving(library), library.failures()) == ("2", {})
    record.worked()
    record.left(staged(tmp_path))
    record.contained()


def test_a_fault_in_a_new_file_is_kept_although_nothing_serves(library: Library, mine: Path) -> None:
    write(mine, "import no_such_module_anywhere\n")
    refusal(library, mine)
    assert library.find("mine") is None
    assert list(library.failures()) == [str(mine)]


def test_a_deleted_file_goes_on_serving(library: Library, mine: Path, tmp_path: Path, fault: Fault) -> None:
    record = fault("deleted file")
    library.load(mine)
    mine.unlink()
    assert "mine.py does not exist" in refusal(library, mine).message
    assert serving(library) == "1"
    assert list(library.failures()) == [str(mine)]
    write(mine, scorer_text(version="2"))
    library.load(mine)
    assert serving(library) == "2"
    record.worked()
    record.left(staged(tmp_path))
    record.contained()


def test_a_path_that_never_was_is_not_remembered(library: Library, tmp_path: Path) -> None:
    refusal(library, tmp_path / "mistyped.py")
    assert library.failures() == {}


def test_two_edits_of_one_size_and_one_time_are_two_versions(
    library: Library, mine: Path, fault: Fault
) -> None:
    record = fault("two edits in one second, of one size and time", expected=[None])
    library.load(mine)
    before = mine.stat()
    write(mine, scorer_text(version="2"))
    os.utime(mine, ns=(before.st_atime_ns, before.st_mtime_ns))
    # The control: who goes by size and time sees no change.
    assert (mine.stat().st_size, mine.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    record.worked()
    assert library.refresh(mine) is not None
    assert serving(library) == "2"
    record.contained()


def test_a_clock_that_goes_backwards_changes_nothing(
    library: Library, mine: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = fault("clock that goes backwards", expected=[None])
    library.load(mine)
    before = mine.stat()
    monkeypatch.setattr("autoscorer.scorers.library.library.iso_now", lambda: "1970-01-01T00:00:00.000Z")
    write(mine, scorer_text(version="2"))
    os.utime(mine, (0, 0))
    # The control: who waits for a later time than the last one sees no change.
    assert mine.stat().st_mtime_ns < before.st_mtime_ns
    record.worked()
    assert library.refresh(mine) is not None
    assert serving(library) == "2"
    history = library.history("mine").versions
    assert [version.version for version in history] == ["2", "1"]
    assert history[0].loaded_at < history[1].loaded_at  # so the order is not by time
    record.contained()


def test_a_content_that_was_tried_is_not_tried_again(library: Library, mine: Path) -> None:
    assert library.refresh(mine) is not None
    assert library.refresh(mine) is None
    write(mine, "import no_such_module_anywhere\n")
    for _ in range(2):
        with pytest.raises(AutoscorerError):
            library.refresh(mine, again=True)
    assert library.refresh(mine) is None


def test_a_changed_helper_in_a_package_is_a_new_version(
    library: Library, tmp_path: Path, fault: Fault
) -> None:
    record = fault("helper module changed", expected=[None])
    write(
        tmp_path / "pack" / "__init__.py",
        GOOD.replace('"1"', "HELP")
        .replace("class", "from .part import HELP\n\n\nclass", 1)
        .replace('@register("mine", aliases=())\n', "")
        .replace("class Mine", '@register("mine")\nclass Mine'),
    )
    helper = write(tmp_path / "pack" / "part.py", "HELP = '1'\n")
    library.load(tmp_path / "pack")
    before = read_source(tmp_path / "pack").files["pack/__init__.py"]
    write(helper, "HELP = '2'\n")
    # The control: who goes by the file that registers the scorer sees no change.
    assert read_source(tmp_path / "pack").files["pack/__init__.py"] == before
    record.worked()
    assert library.refresh(tmp_path / "pack") is not None
    assert serving(library) == "2"
    write(helper, "HELP = \n")
    assert refusal(library, tmp_path / "pack").details["file"] == "pack/part.py"
    assert serving(library) == "2"
    record.left(staged(tmp_path))
    record.contained()


def test_a_helper_beside_a_file_is_named_as_no_part_of_it(library: Library, mine: Path) -> None:
    write(mine.with_name("helper_of_mine.py"), "x = 1\n")
    write(mine, "import helper_of_mine\n" + GOOD)
    error = refusal(library, mine)
    assert "helper_of_mine lies beside mine.py but is not part of it" in error.message
    assert error.details["line"] == 1


def test_a_link_is_refused(library: Library, mine: Path, fault: Fault) -> None:
    record = fault("symlinked file")
    link = mine.with_name("link.py")
    link.symlink_to(mine)
    error = refusal(library, link)
    assert (error.cause, error.blame) == ("refused", "organiser")
    assert library.load(mine).cards
    record.worked()
    record.contained()


@pytest.mark.parametrize(("mode", "who"), [(0o666, "everybody"), (0o664, "its group"), (0o602, "everybody")])
def test_a_file_that_others_can_write_to_is_refused(
    library: Library, mine: Path, fault: Fault, mode: int, who: str
) -> None:
    record = fault(f"file that can be written to by {who}")
    mine.chmod(mode)
    error = refusal(library, mine)
    assert error.cause == "refused"
    assert error.message == f"mine.py can be written to by {who}: `chmod go-w mine.py`"
    subprocess.run(["chmod", "go-w", mine], check=True)
    assert library.load(mine).cards
    record.worked()
    record.contained()


def owned_by(uid: int, gid: int, mode: int) -> os.stat_result:
    return os.stat_result((stat.S_IFREG | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize(("uid", "accepted"), [(1000, True), (0, True), (4321, False)])
def test_a_file_of_another_user_but_root_is_refused(
    monkeypatch: pytest.MonkeyPatch, uid: int, accepted: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    status = owned_by(uid, uid, 0o644)
    if accepted:
        sources._check_owner(Path("mine.py"), status)
        return
    with pytest.raises(AutoscorerError, match=r"belongs to another user \(uid 4321\)") as caught:
        sources._check_owner(Path("mine.py"), status)
    assert caught.value.cause == "refused"


@pytest.mark.parametrize(
    ("uid", "group", "members", "accepted"),
    [
        (1000, "me", [], True),
        (1000, "me", ["me"], True),
        (1000, "me", ["me", "you"], False),
        (1000, "staff", [], False),
        (0, "me", [], False),
    ],
)
def test_a_group_may_write_only_if_it_is_the_users_own(
    monkeypatch: pytest.MonkeyPatch, uid: int, group: str, members: list[str], accepted: bool
) -> None:
    """With the umask 0002 of Debian and Ubuntu every file can be written by a group of one."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: SimpleNamespace(pw_name="me"))
    monkeypatch.setattr(grp, "getgrgid", lambda _gid: SimpleNamespace(gr_name=group, gr_mem=members))
    status = owned_by(uid, 1000, 0o664)
    if accepted:
        sources._check_owner(Path("mine.py"), status)
        return
    with pytest.raises(AutoscorerError, match="chmod go-w"):
        sources._check_owner(Path("mine.py"), status)


@pytest.mark.parametrize("where", ["pack", "pack/sub", "pack/sub/deep.py"])
def test_everything_in_a_package_is_looked_at(library: Library, tmp_path: Path, where: str) -> None:
    write(tmp_path / "pack" / "__init__.py", GOOD)
    write(tmp_path / "pack" / "sub" / "deep.py", "")
    (tmp_path / where).chmod(0o777)
    assert refusal(library, tmp_path / "pack").cause == "refused"
    (tmp_path / where).chmod(0o755)
    assert library.load(tmp_path / "pack").cards


def test_a_link_in_a_package_is_refused(library: Library, tmp_path: Path) -> None:
    write(tmp_path / "pack" / "__init__.py", GOOD)
    (tmp_path / "pack" / "secrets.txt").symlink_to("/etc/hostname")
    assert refusal(library, tmp_path / "pack").cause == "refused"


@pytest.mark.parametrize("name", ["mine.txt", "mine", "plain folder", "no-name", "device"])
def test_what_is_no_scorer_is_named(library: Library, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "no-name":
        write(path / "__init__.py", GOOD)
    elif name == "plain folder":
        write(path / "mine.py", GOOD)
    elif name == "device":
        os.mkfifo(path := tmp_path / "pipe.py")
    else:
        write(path, GOOD)
    assert refusal(library, path).cause in ("unloadable", "refused")


def test_a_huge_file_is_refused_and_a_folder_of_very_many(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_FILES", 3)
    monkeypatch.setattr(sources, "MAX_BYTES", 1000)
    assert "larger than 1000 bytes" in refusal(library, write(tmp_path / "huge.py", "#" * 1001)).message
    for number in range(4):
        write(tmp_path / "pack" / f"part{number}.py", "")
    assert "more than 3 files" in refusal(library, tmp_path / "pack").message


def test_a_file_that_changes_while_it_is_read_is_read_again(
    library: Library, mine: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = fault("file that changes while it is read", expected=[None], controlled=False)
    real, readings = sources._read, 0

    def disturbed(path: Path) -> bytes:
        nonlocal readings
        readings += 1
        content = real(path)
        if readings == 1:
            write(mine, scorer_text(version="22"))
        return content

    monkeypatch.setattr(sources, "_read", disturbed)
    library.load(mine)
    assert (serving(library), readings) == ("22", 2)
    record.contained()


def test_a_file_that_never_rests_is_named(
    library: Library, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sources._read

    def disturbed(path: Path) -> bytes:
        with path.open("a") as file:
            file.write("\n")
        return real(path)

    monkeypatch.setattr(sources, "_read", disturbed)
    assert "keeps changing" in refusal(library, mine).message


def test_what_lies_in_a_scorers_dir_open_to_others_is_refused(tmp_path: Path, mine: Path) -> None:
    library = Library(tmp_path / "data", check_here, scorers_dir=mine.parent)
    mine.parent.chmod(0o777)
    assert refusal(library, mine).cause == "refused"
    mine.parent.chmod(0o755)
    assert library.load(mine).cards
    mine.parent.chmod(0o777)
    assert (
        Library(tmp_path / "data", check_here).load(mine).cards
    )  # elsewhere the folder is the user's affair


def test_a_full_disk_is_the_operators_and_leaves_the_last_good_one(
    library: Library, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.load(mine)
    write(mine, scorer_text(version="2"))

    def full(_path: Path, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shelf, "_write", full)
    with pytest.raises(AutoscorerError, match="No space left") as caught:
        library.load(mine)
    assert (caught.value.code, caught.value.blame) == ("RESOURCE_UNAVAILABLE", "operator")
    assert serving(library) == "1"
    assert list((mine.parents[1] / "data/scorers/staging").iterdir()) == []


def test_of_two_loads_at_once_the_later_content_wins(tmp_path: Path, mine: Path, fault: Fault) -> None:
    """The first load reads the old bytes and is held up; the second must not be overtaken by it."""
    record = fault("two loads at once", expected=[None], controlled=False)
    first_checks, go_on = threading.Event(), threading.Event()

    def slow(code: Code, sha256: str) -> list[ScorerCard]:
        cards = check_here(code, sha256)
        if cards[0].version == "1":
            first_checks.set()
            assert go_on.wait(30)
        return cards

    library = Library(tmp_path / "data", slow)
    threads = [threading.Thread(target=library.load, args=[mine])]
    threads[0].start()
    assert first_checks.wait(30)
    write(mine, scorer_text(version="2"))
    threads.append(threading.Thread(target=library.load, args=[mine]))
    threads[1].start()
    assert library.find("mine") is None  # readers do not wait
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert serving(library) == "2"
    assert [version.version for version in library.history("mine").versions] == ["2", "1"]
    record.left(staged(tmp_path))
    record.contained()


def test_a_scorers_dir_open_to_others_is_refused_by_any_spelling(tmp_path: Path, mine: Path) -> None:
    (tmp_path / "link").symlink_to(mine.parent)
    library = Library(tmp_path / "data", check_here, scorers_dir=mine.parent)
    mine.parent.chmod(0o777)
    assert refusal(library, tmp_path / "link" / mine.name).cause == "refused"
    mine.parent.chmod(0o755)
    assert library.load(tmp_path / "link" / mine.name).cards


@pytest.mark.parametrize("name", ["1", "b'helper'", "['helper']", "'../helper'", "'a\\0b'", "'x' * 10_000"])
def test_an_odd_name_of_a_missing_module_is_the_scorers_fault(
    library: Library, mine: Path, name: str
) -> None:
    write(mine, f"raise ModuleNotFoundError('no', name={name})\n")
    assert refusal(library, mine).cause == "unloadable"
    assert library.failures()[str(mine)].code == "SCORER_NOT_FOUND"


def test_a_path_that_means_no_scorer_is_refused_and_leaves_no_failure_behind(
    library: Library, tmp_path: Path, mine: Path
) -> None:
    """It would never load, so nobody could make it go."""
    (tmp_path / "notes.txt").write_text("x = 1")
    for path in (tmp_path, tmp_path / "notes.txt", tmp_path / "nothing.py"):
        assert refusal(library, path).code == "SCORER_NOT_FOUND"
    assert library.failures() == {}
    mine.write_text("def (")
    refusal(library, mine)
    assert list(library.failures()) == [str(mine)], "control: a scorer's file is told of"


def test_forged_details_of_a_failure_are_not_kept(tmp_path: Path, mine: Path) -> None:
    def check(_code: Code, _sha256: str) -> list[ScorerCard]:
        forged = {"file": [1], "line": "abc", "missing": 5}
        raise AutoscorerError("SCORER_NOT_FOUND", "no", forged, cause="unloadable")

    library = Library(tmp_path / "data", check)
    assert refusal(library, mine).message == "no"
    failure = library.failures()[str(mine)]
    assert (failure.file, failure.line) == (None, None)


@pytest.mark.parametrize(("code", "tries"), [("EXEC_ERROR", 2), ("SCORE_ERROR", 1)])
def test_a_content_that_failed_by_no_fault_of_its_own_is_tried_again(
    tmp_path: Path, mine: Path, code: str, tries: int
) -> None:
    tried = []

    def check(_code: Code, sha256: str) -> list[ScorerCard]:
        tried.append(sha256)
        raise AutoscorerError(code, "no")

    library = Library(tmp_path / "data", check)
    for _ in range(2):
        with suppress(AutoscorerError):
            library.refresh(mine)
    assert len(tried) == tries
