"""Who may see what of a result: a participant's view shows no truth unless the organiser allows it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from autoscorer.schemas.result import Result
from autoscorer.utils.errors import Blame, find_code

# A short truth can be guessed: whoever hashes every guess knows by these when it is right.
TELLING_HASHES = ("reference_sha256", "score_digest")
HIDDEN_MESSAGE = "the fault is the organiser's; nothing in what was delivered has to change"
# What is said of any fault of this kind, hence nothing of this truth.
_GENERAL_DETAILS = ("cause", "blame", "retryable", "hint")


class Audience(StrEnum):
    """Whom a result is shown to."""

    ORGANISER = "organiser"
    PARTICIPANT = "participant"


def participant_view(result: Result, *, allow_truth: bool = False) -> Result:
    """``result`` as a participant may see it; unchanged with ``allow_truth``.

    Left out: artifacts that show the truth, hashes by which it could be guessed, and what a fault of the
    organiser's says (it may quote the reference). Summary and metrics stay.
    """
    if allow_truth:
        return result
    shown = {name: artifact for name, artifact in result.artifacts.items() if not artifact.shows_truth}
    versioning = {key: text for key, text in result.versioning.items() if key not in TELLING_HASHES}
    error = None if result.error is None else participant_error(result.error)
    return result.model_copy(update={"artifacts": shown, "versioning": versioning, "error": error})


def participant_error(error: Mapping[str, Any]) -> dict[str, Any]:
    """A standard error as a participant may see it: of a fault of the organiser's only what kind it is."""
    details = error.get("details", {})
    row = find_code(error.get("code", ""), details.get("cause", ""))
    if row is not None and row.blame != Blame.ORGANISER:
        return dict(error)
    general = {key: details[key] for key in _GENERAL_DETAILS if key in details}
    return {**error, "message": HIDDEN_MESSAGE, "details": general}
