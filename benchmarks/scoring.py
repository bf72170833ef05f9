"""What a score costs beside its metric: a process of its own, a warm zygote, this process, the cache."""

from __future__ import annotations

import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from autoscorer.facade import score_files
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.child.host import ChildHost
from autoscorer.scorers.result_cache import ResultCache
from autoscorer.utils.config import Config
from benchmarks.harness import CACHE, Comparison, Row, Run, cached, timed

SMALL_ROWS, LARGE_ROWS = 10, 100_000
WARM_SCORES, COMMANDS = 1_000, 100
PAIRS = 10
SCORER = "classification_f1"
LABELS = ("cat", "dog", "bird")


def rows() -> Iterator[Row]:
    """All score whole files with strict checks, hashes and digest; nothing is served but where it says so."""
    settings = replace(Config().settings, data_dir=CACHE / "scoring_data", cache_max_bytes=2**30)
    small = cached("ten_rows", partial(generate, n_rows=SMALL_ROWS))
    with Catalog(lambda: ChildHost(settings, warm=True), isolate=True) as warm, Catalog() as here:
        yield Row(
            work=f"a score of {SMALL_ROWS} rows in a child of the warm zygote, mean of {WARM_SCORES:,}",
            against=f"`autoscorer score` as a process each, mean of {COMMANDS}",
            comparison=paired(
                lambda: mean(lambda: score(warm, small), WARM_SCORES // PAIRS),
                lambda: command_mean(small, COMMANDS // PAIRS),
            ),
            aim=1 / 8,
        )
        yield Row(
            work=f"a score of {SMALL_ROWS} rows in a child of the warm zygote",
            against="the same in this process",
            comparison=paired(
                lambda: mean(lambda: score(warm, small), WARM_SCORES // PAIRS),
                lambda: mean(lambda: score(here, small), WARM_SCORES // PAIRS),
            ),
            aim=None,
            most_s_more=0.025,
        )
        yield served(here, ResultCache(settings.data_dir, settings.cache_max_bytes, fail))


def served(catalog: Catalog, kept: ResultCache) -> Row:
    """Both hash the files; who computes them also reads, aligns and counts."""
    large = cached("hundred_thousand_rows", partial(generate, n_rows=LARGE_ROWS))
    score(catalog, large, kept)
    return Row(
        work=f"a score of {LARGE_ROWS:,} rows served from the cache, in this process",
        against="computing it",
        comparison=paired(
            lambda: mean(lambda: score(catalog, large, kept), 10),
            lambda: mean(lambda: score(catalog, large), 3),
        ),
        aim=None,
        most_s=0.01,
    )


def score(catalog: Catalog, folder: Path, kept: ResultCache | None = None) -> None:
    score_files(catalog, folder / "gt.csv", folder / "pred.csv", SCORER, cache=kept)


def mean(work: Callable[[], None], times: int) -> Run:
    """One of ``times`` in a row, on average; the peak memory is this whole process's."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    seconds = (time.perf_counter() - began) / times
    return Run(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def command_mean(folder: Path, times: int) -> Run:
    """One process of ``times``, on average."""
    files = ["--reference", str(folder / "gt.csv"), "--predictions", str(folder / "pred.csv")]
    autoscorer = str(Path(sys.executable).with_name("autoscorer"))
    runs = [timed([autoscorer, "score", *files, "--scorer", SCORER, "--no-cache"]) for _ in range(times)]
    return Run(sum(run.seconds for run in runs) / times, max(run.peak_rss_bytes for run in runs))


def paired(ours: Callable[[], Run], other: Callable[[], Run]) -> Comparison:
    """Interleaved; the first pair warms both and is not counted."""
    pairs = [(ours(), other()) for _ in range(PAIRS + 1)][1:]
    return Comparison(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))


def fail(problem: str) -> None:
    raise RuntimeError(problem)


def generate(folder: Path, n_rows: int) -> None:
    """Ids 0 … n-1; four of five labels right."""
    chosen = random.Random(0)
    true = [chosen.choice(LABELS) for _ in range(n_rows)]
    guessed = [name if chosen.random() < 0.8 else chosen.choice(LABELS) for name in true]
    for name, column in (("gt", true), ("pred", guessed)):
        lines = "".join(f"{number},{label}\n" for number, label in enumerate(column))
        (folder / f"{name}.csv").write_text(f"id,label\n{lines}", encoding="utf-8")
