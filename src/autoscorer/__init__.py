"""AutoScorer scores machine-learning competitions.

    import autoscorer
    result = autoscorer.score(reference="gt.csv", predictions="pred.csv", scorer="classification_f1")
    result.summary["score"]

The names below are the public API; each is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from autoscorer.facade import run, run_pipeline, score
    from autoscorer.reports.audience import participant_view
    from autoscorer.schemas.job import JobSpec
    from autoscorer.schemas.result import Artifact, Result
    from autoscorer.schemas.scorer import Example
    from autoscorer.scorers.base import BaseCSVScorer, BaseScorer, NoParams, Scorer
    from autoscorer.scorers.registry import ScorerRegistry, get_scorer, register, registry
    from autoscorer.utils.config import Config
    from autoscorer.utils.errors import AutoscorerError, make_error
    from autoscorer.utils.logger import JobLogger

_HOMES = {
    "reports.audience": ("participant_view",),
    "facade": ("run", "run_pipeline", "score"),
    "schemas.job": ("JobSpec",),
    "schemas.result": ("Artifact", "Result"),
    "schemas.scorer": ("Example",),
    "scorers.base": ("BaseCSVScorer", "BaseScorer", "NoParams", "Scorer"),
    "scorers.registry": ("ScorerRegistry", "get_scorer", "register", "registry"),
    "utils.config": ("Config",),
    "utils.errors": ("AutoscorerError", "make_error"),
    "utils.logger": ("JobLogger",),
}

__all__ = [
    "Artifact",
    "AutoscorerError",
    "BaseCSVScorer",
    "BaseScorer",
    "Config",
    "Example",
    "JobLogger",
    "JobSpec",
    "NoParams",
    "Result",
    "Scorer",
    "ScorerRegistry",
    "__version__",
    "get_scorer",
    "make_error",
    "participant_view",
    "register",
    "registry",
    "run",
    "run_pipeline",
    "score",
]


def __getattr__(name: str) -> Any:
    import importlib

    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
