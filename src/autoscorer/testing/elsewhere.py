"""A scoring in another process: of a scorer that is loaded here, in one with other surroundings.

The process is this module run as a program: it reads a request and answers with a result or an error.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoscorer.schemas.result import Result
from autoscorer.scorers.invoke import invoke
from autoscorer.testing.contract import DoesNotApplyError
from autoscorer.testing.trial import Answer, Trial, run_afresh
from autoscorer.utils.errors import AutoscorerError

TIMEOUT_S = 120


FOREIGN_TIME_ZONE = "Asia/Kathmandu"


def score_elsewhere(trial: Trial, *, hash_seed: int, at_home: bool = True) -> Answer:
    """The answer for the data as they are from a process that is not the one of ``trial.host``.

    ``at_home`` it has our working directory and environment, else a folder of its own, an empty environment
    and another time zone. Raises DoesNotApplyError for a scorer that another process cannot import.
    """
    key = ("elsewhere", hash_seed, at_home)
    if key not in trial.remembered:
        trial.remembered[key] = _score_elsewhere(trial, hash_seed, at_home=at_home)
    return trial.remembered[key]


def _score_elsewhere(trial: Trial, hash_seed: int, *, at_home: bool) -> Answer:
    if trial.entry.instance is not None:
        return _score_in_program(trial, hash_seed, at_home=at_home)
    if trial.other_host is None:
        raise DoesNotApplyError("there is no other process to score in")
    with trial.other_host() as host:
        return run_afresh(host, trial.entry, trial.case).answer


def _score_in_program(trial: Trial, hash_seed: int, *, at_home: bool) -> Answer:
    scorer_class = type(trial.entry.instance)
    if scorer_class.__module__ == "__main__" or "<locals>" in scorer_class.__qualname__:
        name = scorer_class.__qualname__
        raise DoesNotApplyError(f"{name} is in no module that another process can import")
    with tempfile.TemporaryDirectory(prefix="autoscorer-") as folder:
        request = {
            "module": scorer_class.__module__,
            "qualname": scorer_class.__qualname__,
            "view": str(trial.case.write(Path(folder) / "view")),
            "params": trial.host.check_params(trial.entry, trial.case.params),
        }
        try:
            done = subprocess.run(
                [*_environment(hash_seed, at_home=at_home), sys.executable, "-m", __name__],
                input=json.dumps(request),
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                cwd=None if at_home else folder,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return AutoscorerError("SCORER_TIMEOUT", f"no answer within {TIMEOUT_S} s")
    return _parsed(done)


def _environment(hash_seed: int, *, at_home: bool) -> list[str]:
    """The words before the program: our environment or none, and what it needs to import what we can."""
    path = ":".join(str(Path(entry).resolve()) for entry in sys.path)
    changed = () if at_home else ("-i", f"TZ={FOREIGN_TIME_ZONE}")
    return ["env", *changed, f"PYTHONPATH={path}", f"PYTHONHASHSEED={hash_seed}"]


def _parsed(done: subprocess.CompletedProcess[str]) -> Answer:
    try:
        told = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        lines = done.stderr.strip().splitlines() or ["no message"]
        return AutoscorerError("SCORER_CRASH", f"the process ended with {done.returncode}: {lines[-1][:500]}")
    if "error" in told:
        return AutoscorerError(*told["error"])
    return Result.model_validate(told["result"])


def answer_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the program prints: the result, or code and message of the error."""
    module = importlib.import_module(request["module"])
    scorer_class: Any = module
    for name in request["qualname"].split("."):
        scorer_class = getattr(scorer_class, name)
    try:
        return {"result": invoke(scorer_class(), Path(request["view"]), request["params"]).to_json()}
    except AutoscorerError as exc:
        return {"error": [exc.code, exc.message]}


if __name__ == "__main__":
    print(json.dumps(answer_request(json.load(sys.stdin))))  # noqa: T201 - this program's answer
