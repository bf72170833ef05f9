"""The tutorial of docs/SCORERS.md, done word for word on a terminal: what it shows is what comes."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import environment
from tests.workspaces import ROOT

PAGE = ROOT / "docs" / "SCORERS.md"
TUTORIAL = re.compile(r"<!-- tutorial -->\n(.*)<!-- end tutorial -->", re.DOTALL)
STEP = re.compile(r"(?:<!-- (file|edit): (\S+) -->\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def on_a_terminal(script: str, folder: Path) -> str:
    """What a terminal of 100 columns shows when a shell runs ``script``."""
    leader, follower = pty.openpty()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = environment(
        PATH=path, DATA_DIR=str(folder.parent / "kept"), TERM="xterm", COLUMNS="100", LINES="50"
    )
    process = subprocess.Popen(["bash", "-c", script], cwd=folder, stdout=follower, stderr=follower, env=env)
    os.close(follower)
    screen = b""
    try:
        while chunk := os.read(leader, 65536):
            screen += chunk
    except OSError:  # Linux answers EIO when the last writer is gone
        pass
    os.close(leader)
    process.wait()
    return ESCAPE.sub("", screen.decode())


def edit(path: Path, block: str) -> None:
    """Put ``block`` where the file has a line that begins as it does; a function reaches to the end."""
    text = path.read_text()
    beginning = re.match(r"\s*(def )?\w+", block)
    assert beginning is not None
    start = text.index(f"\n{beginning[0]}") + 1
    end = len(text) if beginning[1] else text.index("\n", start) + 1
    path.write_text(text[:start] + block + text[end:])


def missing(shown: str, screen: str) -> list[str]:
    """The pieces of ``shown``, between the dots, that do not come in this order on ``screen``."""
    place, lacking = 0, []
    for piece in (part.strip() for line in shown.splitlines() for part in line.split("…")):
        found = screen.find(piece, place)
        if found < 0:
            lacking.append(piece)
        else:
            place = found + len(piece)
    return lacking


@pytest.mark.slow
def test_the_tutorial_goes_as_it_says(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (tutorial,) = TUTORIAL.findall(PAGE.read_text(encoding="utf-8"))
    screen, commands = "", 0
    for action, name, language, block in STEP.findall(tutorial):
        if action == "file":
            (folder / name).write_text(block)
        elif action == "edit":
            edit(folder / name, block)
        elif language == "sh":
            screen, commands = on_a_terminal(block, folder), commands + 1
            assert "Traceback" not in screen, screen
        else:
            assert language == "text"
            assert missing(block, screen) == [], screen
    assert commands >= 8


def test_a_page_that_shows_what_does_not_come_would_be_found(tmp_path: Path) -> None:
    screen = on_a_terminal("echo one two three; echo four", tmp_path)
    assert missing("one … three\nfour", screen) == []
    assert missing("one … three\nfive", screen) == ["five"]
    assert missing("four\none", screen) == ["one"]
