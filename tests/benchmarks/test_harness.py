"""The benchmark harness measures what it says it measures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from benchmarks.harness import Comparison, Row, Run, cached, compare, timed

from benchmarks import harness, report, startup

NOTHING = [sys.executable, "-S", "-c", "pass"]
FIFTY_MEGABYTES = [sys.executable, "-S", "-c", "b'x' * 50_000_000"]


def comparison(*pairs: tuple[float, float]) -> Comparison:
    return Comparison(tuple(Run(ours, 1) for ours, _ in pairs), tuple(Run(other, 2) for _, other in pairs))


def test_the_ratio_is_the_median_over_pairs_and_not_of_the_medians() -> None:
    assert comparison((1.0, 1.0), (30.0, 10.0), (2.0, 1.0)).ratio == 2.0


def test_peak_memory_is_that_of_the_process_timed() -> None:
    small, large = timed(NOTHING), timed(FIFTY_MEGABYTES)
    assert 40_000_000 < large.peak_rss_bytes - small.peak_rss_bytes < 60_000_000


def test_commands_run_in_turn(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write = "import sys; open(sys.argv[1], 'a').write(sys.argv[2])"
    commands = [[sys.executable, "-S", "-c", write, str(log), name] for name in "ab"]
    assert len(compare(commands[0], commands[1], pairs=2).ours) == 2
    assert log.read_text() == "abab"


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="ended with 3: oh"):
        timed([sys.executable, "-S", "-c", "import sys; sys.stderr.write('oh'); sys.exit(3)"])


def make(folder: Path) -> None:
    (folder / "data").write_text("1")


def test_data_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "CACHE", tmp_path)
    folder = cached("numbers", make)
    (folder / "data").write_text("2")
    assert (cached("numbers", make) / "data").read_text() == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["numbers"]


@pytest.mark.parametrize(("aim", "met"), [(2.0, "yes"), (1.4, "**no**"), (None, "yes")])
def test_a_row_says_whether_its_aim_was_met(aim: float | None, met: str) -> None:
    row = Row(work="a", against="b", comparison=comparison((3.0, 2.0)), aim=aim)
    assert row.is_met is (met == "yes")
    cells = report.line(row).split(" | ")
    assert cells[2:5] == ["3 s", "2 s", "1.5×"]
    assert cells[6] == met


@pytest.mark.parametrize(("most_s", "met"), [(3.5, True), (2.5, False)])
def test_a_row_may_promise_seconds(most_s: float, met: bool) -> None:
    row = Row(work="a", against="b", comparison=comparison((3.0, 2.0)), aim=None, most_s=most_s)
    assert row.is_met is met
    assert f"at most {most_s} s" in report.line(row)


def test_faster_is_shown_as_a_fraction() -> None:
    assert (report.ratio(1 / 60), report.ratio(0.9), report.ratio(2.5)) == ("1/60×", "0.9×", "2.5×")


def test_a_group_that_is_measured_anew_takes_the_place_of_its_old_rows_and_no_others() -> None:
    row = Row(work="new", against="b", comparison=comparison((3.0, 2.0)), aim=None)
    made = report.section(startup, [row])
    kept = "# Old head\n\n## alpha\n\nkept\n\n## startup\n\nold\n\n## zeta\n\nkept too\n"
    page = report.page(kept, section=made)
    assert "old" not in page.split()
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == ["## alpha", "## startup", "## zeta"]
    assert "| new | b |" in page
    assert report.page(page, section=made) == page
    assert report.page("", section=made).count("## ") == 1
