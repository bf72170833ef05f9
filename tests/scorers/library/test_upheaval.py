"""Edits, kills, endless imports while scores run: no score fails, and each names the bytes that made it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoscorer.scorers.child.host import ChildHost
from autoscorer.scorers.library import Library
from autoscorer.scorers.library.names import KEPT_VERSIONS
from autoscorer.utils.config import Config
from autoscorer.utils.errors import AutoscorerError
from tests.scorers.library.conftest import Fault, staged
from tests.scorers.library.sources import refusal, scorer_text, write

pytestmark = pytest.mark.slow
SCORING = 2


@pytest.mark.parametrize("edits", [40, pytest.param(1000, marks=pytest.mark.long)])
def test_edits_while_scores_run_fail_no_score_and_each_result_names_its_bytes(
    tmp_path: Path, mine: Path, fault: Fault, edits: int
) -> None:
    record = fault(f"{edits} edits while scores run", expected=[None], controlled=False)
    write(tmp_path / "gt.csv", "id,label\n1,cat\n")
    write(tmp_path / "pred.csv", "id,label\n1,cat\n")
    values: dict[str, float] = {}
    with ExitStack() as stack:
        host = ChildHost(Config().settings)
        stack.callback(host.close)
        library = Library(Config().settings.data_dir, host.describe, needed=lambda _pins: ())
        library.load(mine)
        values[hashlib.sha256(mine.read_bytes()).hexdigest()] = 0.5
        command = [sys.executable, "-m", "tests.scorers.library.scoring_loop", str(tmp_path)]
        scoring = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            for _ in range(SCORING)
        ]
        stack.callback((tmp_path / "stop").touch)
        told = [json.loads(_first_line(process)) for process in scoring]  # from here on they score
        for number in range(edits):
            _edit(mine, library, number, values)
        (tmp_path / "stop").touch()
        for process in scoring:
            told += map(json.loads, process.communicate(timeout=120)[0].splitlines())
    assert [line for line in told if "error" in line] == []
    assert [line for line in told if line["m"] != values[line["sha256"]]] == []
    assert len({line["sha256"] for line in told}) > 1
    assert len(library.collect_garbage()) <= len(scoring)  # what the last scores held
    objects = Config().settings.data_dir / "scorers" / "objects"
    assert len(list(objects.iterdir())) == KEPT_VERSIONS
    record.left([*(Config().settings.data_dir / "scorers" / "staging").iterdir()])  # type: ignore[list-item]
    record.contained()


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _edit(mine: Path, library: Library, number: int, values: dict[str, float]) -> None:
    """Every tenth edit is a faulty one; the others give another score, and are one content for sure."""
    if number % 10 == 9:
        write(mine, f"def broken(:  # {number}\n")
        refusal(library, mine)
        return
    value = (number + 1) / 4096
    text = scorer_text(version=str(number), value=value)
    values[hashlib.sha256(text.encode()).hexdigest()] = value
    write(mine, text)
    library.load(mine)


def test_a_load_killed_at_any_step_leaves_a_working_store(tmp_path: Path, fault: Fault) -> None:
    record = fault("load killed at every step it makes on disk", expected=[None], controlled=False)
    command = [sys.executable, "-m", "tests.scorers.library.killed_loads", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    told: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) > 30
    for line in told:
        assert line["after"] in (line["before"], str(line["step"])), line
        assert line["mended"] == f"{line['step']}.mended", line
        assert line["cleaned"], line
    assert any(line["left"] for line in told)  # some were killed with a copy staged, and it is gone
    assert any(line["after"] == line["before"] for line in told)
    assert [line["killed"] for line in told] == [*[True] * (len(told) - 1), False]
    assert told[-1]["after"] == str(told[-1]["step"])
    record.left(staged(tmp_path))
    record.contained()


def test_an_import_that_loops_is_ended_and_holds_nobody_up(tmp_path: Path, mine: Path, fault: Fault) -> None:
    record = fault("import that loops")
    settings = replace(Config().settings, scorer_time_limit_s=2)
    host = ChildHost(settings)
    try:
        library = Library(tmp_path / "data", host.describe)
        library.load(mine)
        write(mine, "while True:\n    pass\n")
        with pytest.raises(AutoscorerError, match="2 s") as caught:
            library.load(mine)
        assert (caught.value.code, caught.value.cause) == ("SCORER_NOT_FOUND", "unloadable")
        assert caught.value.details["code"] == "SCORER_TIMEOUT"
        entry = library.find("mine")
        assert entry is not None
        assert entry.card.version == "1"
        write(mine, scorer_text(version="2"))
        assert library.load(mine).cards[0].version == "2"
    finally:
        host.close()
    record.worked()
    record.left(staged(tmp_path))
    record.contained()
