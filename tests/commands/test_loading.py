"""Loading scorers as a user does it: each command a process of its own, one installation for all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest

from tests.cli import Called, call, command, environment
from tests.scorers.library.sources import scorer_text, write
from tests.workspaces import ROOT, MakeWorkspace

pytestmark = pytest.mark.slow
EXAMPLE = """    example = Example(
        reference={"gt.csv": "id,label\\n1,cat\\n"},
        predictions={"pred.csv": "id,label\\n1,cat\\n"},
        metrics={"m": 0.5}
    )
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return write(tmp_path / "mine.py", scorer_text())


def load(path: Path, *options: str) -> Called:
    return call("scorers", "load", "--file-path", path, *options)


def listed() -> dict[str, dict[str, Any]]:
    return {card["name"]: card for card in call("scorers", "list").answer["data"]["scorers"]}


def test_the_specifications_lines_work_each_in_a_process_of_its_own(make_workspace: MakeWorkspace) -> None:
    for name in ("test_scorer", "classification_f2"):
        path = ROOT / "custom_scorers" / f"{name}.py"
        (card,) = load(path).answer["data"]["loaded"]
        assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert listed()[name] == card
    workspace = make_workspace(predictions="id,label\n1,cat\n2,cat\n")
    result = call("score", workspace, "--scorer", "test_scorer").answer["data"]["result"]
    assert result["metrics"] == {"accuracy": 0.5, "samples": 2}
    # of cat: 5·1/(4·1+2), of dog: 0; their mean
    result = call("score", workspace, "--scorer", "classification_f2").answer["data"]["result"]
    assert result["metrics"]["f2"] == pytest.approx(5 / 6 / 2)


def test_a_loaded_scorer_is_reloaded_listed_and_unloaded(mine: Path) -> None:
    first = load(mine).answer["data"]["loaded"][0]["sha256"]
    write(mine, scorer_text(version="2"))
    second = call("scorers", "reload", "--file-path", mine).answer["data"]["loaded"][0]["sha256"]
    told = call("scorers", "versions", "mine").answer["data"]
    assert [(version["sha256"], version["serves"]) for version in told["versions"]] == [
        (second, True),
        (first, False),
    ]
    write(mine, "def broken(:\n")
    error = call("scorers", "reload", "--file-path", "mine").error
    assert (error["code"], error["details"]["line"]) == ("SCORER_NOT_FOUND", 1)
    (failure,) = call("scorers", "list").answer["data"]["failures"]
    assert (failure["source"], failure["line"]) == (str(mine), 1)
    assert call("scorers", "versions", "mine").answer["data"]["failure"]["line"] == 1
    assert listed()["mine"]["version"] == "2"
    assert call("scorers", "unload", "mine").answer["data"]["sha256"] == second
    assert "mine" not in listed()
    assert call("scorers", "unload", "mine").exit_code == 1


def test_a_job_keeps_to_the_version_it_names(mine: Path, make_workspace: MakeWorkspace) -> None:
    pin = "mine@" + load(mine).answer["data"]["loaded"][0]["sha256"]
    write(mine, scorer_text(version="2", value=0.75))
    load(mine)
    workspace = make_workspace(predictions="id,label\n1,cat\n2,cat\n", spec={"scorer": pin})
    assert call("validate", workspace).exit_code == 0
    assert call("score", workspace).answer["data"]["result"]["summary"] == {"score": 0.5}


def test_taking_a_built_in_name_is_said_aloud(tmp_path: Path) -> None:
    path = write(tmp_path / "impostor.py", scorer_text("classification_f1"))
    error = load(path).error
    assert error["details"]["cause"] == "name_taken"
    taken = load(path, "--replace")
    (warning,) = taken.answer["meta"]["warnings"]
    assert warning == {
        "code": "SCORER_REPLACED",
        "message": "classification_f1 was the name of a built-in scorer",
    }
    assert listed()["classification_f1"]["origin"] == "stored"


def test_a_scorer_whose_example_does_not_hold_is_not_loaded(mine: Path) -> None:
    text = scorer_text().replace("import BaseScorer", "import Example, BaseScorer")
    right = text.replace('    version = "1"\n', '    version = "1"\n' + EXAMPLE)
    write(mine, right.replace('"m": 0.5}\n', '"m": 0.6}\n'))
    assert "example of mine" in load(mine).error["message"]
    write(mine, right)
    assert load(mine).exit_code == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("while True: pass\n", "SCORER_TIMEOUT"),
        ("import os; os._exit(0)\n", "SCORER_NO_RESULT"),
        ("import os; os.abort()\n", "SCORER_CRASH"),
        ("import os, signal; os.kill(os.getppid(), signal.SIGKILL); os.kill(0, signal.SIGKILL)\n", None),
    ],
    ids=["loops", "exits", "aborts", "kills"],
)
def test_an_import_that_takes_its_process_along_harms_nothing(
    mine: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str | None
) -> None:
    load(mine)
    write(mine, text)
    monkeypatch.setenv("SCORER_TIME_LIMIT", "2")
    error = load(mine).error
    assert error["code"] == "SCORER_NOT_FOUND"
    assert reason is None or error["details"]["code"] == reason
    assert listed()["mine"]["version"] == "1"


def test_watching_loads_until_it_is_told_to_stop(tmp_path: Path) -> None:
    folder = tmp_path / "scorers"
    mine = write(folder / "mine.py", scorer_text())
    with subprocess.Popen(
        command("scorers", "watch"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(SCORERS_DIR=str(folder)),
    ) as watching:
        assert watching.stderr is not None
        assert watching.stderr.readline() == f"watching {folder}; end with Ctrl-C\n"
        assert watching.stderr.readline().startswith("mine.py: loaded mine 1 (")
        write(mine, "def broken(:\n")
        assert "mine.py, line 1" in watching.stderr.readline()
        write(mine, scorer_text(version="2"))
        assert watching.stderr.readline().startswith("mine.py: loaded mine 2 (")
        watching.send_signal(signal.SIGINT)
        stdout, stderr = watching.communicate(timeout=60)
    assert (watching.returncode, stderr) == (0, "")
    assert json.loads(stdout)["data"] == {"watched": str(folder), "loaded": 2, "failed": 1}
    assert listed()["mine"]["version"] == "2"


def test_without_a_folder_there_is_nothing_to_watch() -> None:
    called = call("scorers", "watch")
    assert called.exit_code == 2
    assert "SCORERS_DIR" in called.stderr


def test_a_killed_load_leaves_a_working_store(mine: Path) -> None:
    """Killed in the middle of the check: the copy is staged, the old version serves, the next load works."""
    load(mine)
    write(mine, f"import time\nopen({str(mine)!r} + '.imported', 'w').close()\ntime.sleep(600)\n")
    with subprocess.Popen(
        command("scorers", "load", "--file-path", mine), stdout=subprocess.DEVNULL, env=environment()
    ) as loading:
        staging = Path(os.environ["DATA_DIR"]) / "scorers" / "staging"
        while not any(staging.glob("*/code/mine.py")):
            assert loading.poll() is None
        loading.kill()
    assert len(list(staging.iterdir())) == 1
    assert listed()["mine"]["version"] == "1"
    write(mine, scorer_text(version="2"))
    assert load(mine).exit_code == 0
    assert listed()["mine"]["version"] == "2"
    assert list(staging.iterdir()) == []


def test_on_a_terminal_a_list_fits_and_a_failure_shows_its_file_and_line(mine: Path) -> None:
    load(ROOT / "custom_scorers" / "test_scorer.py")
    load(write(mine, "def broken(:\n"))
    shown = on_terminal("scorers", "list")
    assert "classification_accuracy  1.0.0    builtin  classification  accuracy ↑" in shown
    assert "mine.py could not be loaded" in shown
    assert "mine.py, line 1: cannot be read as Python" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "1.0.0" in on_terminal("scorers", "versions", "test_scorer")


def on_terminal(*arguments: str) -> str:
    """What a person sees on 80 columns, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
    with subprocess.Popen(
        command(*arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=environment(TERM="xterm"),
    ) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        os.close(ours)
    assert process.returncode == 0
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: the other end is closed
        return b""
