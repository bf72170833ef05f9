"""Times two commands as whole processes, in interleaved pairs, and says which machine said so."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "bench"
# A child's peak memory includes that of the process which started it: so a small one does.
LAUNCHER = """
import os, sys, time
began = time.perf_counter()
silent = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[silent])
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - began, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
MEASURED_PACKAGES = ("autoscorer", "polars", "numpy", "pandas", "scikit-learn", "hotcoco", "pycocotools")


@dataclass(frozen=True)
class Run:
    """One process from start to end."""

    seconds: float
    peak_rss_bytes: int


@dataclass(frozen=True)
class Comparison:
    """Several interleaved pairs. The ratio is the median over pairs, so a slow minute hits both sides."""

    ours: tuple[Run, ...]
    other: tuple[Run, ...]

    @property
    def ratio(self) -> float:
        """Our time divided by the other's; below 1 we are faster."""
        return statistics.median(
            ours.seconds / other.seconds for ours, other in zip(self.ours, self.other, strict=True)
        )

    @property
    def more_s(self) -> float:
        """By how many seconds we take longer; the median over pairs."""
        return statistics.median(
            ours.seconds - other.seconds for ours, other in zip(self.ours, self.other, strict=True)
        )

    @property
    def ours_s(self) -> float:
        return statistics.median(run.seconds for run in self.ours)

    @property
    def other_s(self) -> float:
        return statistics.median(run.seconds for run in self.other)

    @property
    def ours_peak_bytes(self) -> int:
        return max(run.peak_rss_bytes for run in self.ours)

    @property
    def other_peak_bytes(self) -> int:
        return max(run.peak_rss_bytes for run in self.other)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the report: what was done, against what, how it should come out and how it did.

    ``aim`` is a ratio ours/other that should not be exceeded, ``most_s_more`` a number of seconds that we
    may take longer, ``most_s`` one that we may take at all; None where nothing was promised.
    """

    work: str
    against: str
    comparison: Comparison
    aim: float | None
    note: str = ""
    most_s_more: float | None = None
    most_s: float | None = None

    @property
    def is_met(self) -> bool:
        slower = self.aim is not None and self.comparison.ratio > self.aim
        later = self.most_s_more is not None and self.comparison.more_s > self.most_s_more
        long = self.most_s is not None and self.comparison.ours_s > self.most_s
        return not slower and not later and not long


def compare(ours: Sequence[str], other: Sequence[str], pairs: int = 5) -> Comparison:
    """Run both commands ``pairs`` times in turn. Raises RuntimeError when either fails."""
    runs = [(timed(ours), timed(other)) for _ in range(pairs)]
    return Comparison(tuple(pair[0] for pair in runs), tuple(pair[1] for pair in runs))


def timed(command: Sequence[str]) -> Run:
    """Wall time and peak memory of one process; raises RuntimeError with its stderr when it fails."""
    launcher = [sys.executable, "-S", "-c", LAUNCHER, *command]
    finished = subprocess.run(launcher, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        complaint = finished.stderr[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with {finished.returncode}: {complaint}")
    seconds, peak_kib = finished.stdout.split()
    return Run(float(seconds), int(peak_kib) * 1024)


def cached(name: str, generate: Callable[[Path], None]) -> Path:
    """A folder of generated data below ``.cache/bench``; made once, complete or not at all."""
    folder = CACHE / name
    if not folder.exists():
        partial = CACHE / f"{name}.part"
        partial.mkdir(parents=True, exist_ok=True)
        # In a process of its own, so that this one stays small.
        process = multiprocessing.get_context("spawn").Process(target=generate, args=(partial,))
        process.start()
        process.join()
        if process.exitcode != 0:
            raise RuntimeError(f"the data for {name} could not be made")
        partial.rename(folder)
    return folder


def versions() -> dict[str, str]:
    """What was measured with: Python and every package that is installed."""
    found = {"python": platform.python_version()}
    for package in MEASURED_PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """The processor and its count, as the report names them; no host name."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Linux"
