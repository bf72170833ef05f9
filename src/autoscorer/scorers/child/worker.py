"""What runs in the scorer's process: load the code, do what was asked, answer in one frame.

The code that is loaded here can change anything in this process, this module too; so the parent
checks every answer again, and nothing here is a wall.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers import loading
from autoscorer.scorers.base import Scorer
from autoscorer.scorers.child import frames
from autoscorer.scorers.examples import differences, lay_out
from autoscorer.scorers.host import Code
from autoscorer.scorers.invoke import check_params, invoke
from autoscorer.utils.errors import AutoscorerError


def work(request: dict[str, Any], answer: int) -> NoReturn:
    """Answer ``request`` on the descriptor ``answer`` and end the process."""
    gc.enable()
    send, encode = frames.send, frames.encode  # as they are before foreign code is loaded
    try:
        told = ACTIONS[request["action"]](request)
    except AutoscorerError as exc:
        told = {"error": [exc.code, str(exc.cause), exc.message, exc.details]}
    try:
        frame = encode(told)
    except (ValueError, TypeError, RecursionError) as exc:
        text = f"what it returned cannot be passed on: {exc}"
        frame = encode({"error": ["SCORER_BAD_RESULT", "", text[:500], {}]})
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:  # whatever the scorer put there
        send(answer, frame)
        os._exit(0)


def _score(request: dict[str, Any]) -> dict[str, Any]:
    scorer = _scorer(request)
    complete = check_params(scorer, request["params"])
    result = invoke(scorer, Path(request["workspace"]), complete)
    return {"result": result.model_dump(mode="json"), "params": complete}


def _check_params(request: dict[str, Any]) -> dict[str, Any]:
    return {"params": check_params(_scorer(request), request["params"])}


def _describe(request: dict[str, Any]) -> dict[str, Any]:
    code = _code(request)
    loaded = loading.load_code(code)
    cards = loading.cards_of(loaded, code, request["sha256"], origin=request["origin"])
    for card in cards if request["run_example"] else ():
        _check_example(card, loaded.get(card.name))
    return {"cards": [card.model_dump(mode="json") for card in cards]}


ACTIONS = {"score": _score, "check_params": _check_params, "describe": _describe}


def _code(request: dict[str, Any]) -> Code:
    path = request["path"]
    return Code(module=request["module"], path=None if path is None else Path(path))


def _scorer(request: dict[str, Any]) -> Scorer:
    return loading.load_code(_code(request)).get(request["name"])


def _check_example(card: ScorerCard, scorer: Scorer) -> None:
    """Raises SCORER_NOT_FOUND (unloadable) unless the scorer gives its example the metrics it says."""
    if card.example is None:
        return
    with tempfile.TemporaryDirectory(prefix="example-") as folder:
        workspace = lay_out(card.example, Path(folder) / "workspace")
        try:
            result = invoke(scorer, workspace, check_params(scorer, dict(card.example.params)))
        except AutoscorerError as exc:
            place: dict[str, Any] = {key: exc.details[key] for key in ("file", "line") if key in exc.details}
            why = f"the example of {card.name} cannot be scored: {exc.message}"
            raise _unloadable(why, {"example": {"code": exc.code}, **place}) from exc
    if told := differences(card.example, result):
        why = f"the example of {card.name} does not give what it says: {'; '.join(told[:5])}"
        raise _unloadable(why, {"example": {"differences": told[:20]}})


def _unloadable(message: str, details: dict[str, Any]) -> AutoscorerError:
    return AutoscorerError("SCORER_NOT_FOUND", message, details, cause="unloadable")
