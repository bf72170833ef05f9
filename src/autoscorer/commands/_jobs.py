"""What the commands that work on a job have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from autoscorer.commands._frame import Answer, Frame, parse_choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from autoscorer.executor.base import Executor
    from autoscorer.job import JobContext
    from autoscorer.pipeline import Scored
    from autoscorer.scheduler import Isolation
    from autoscorer.schemas.envelope import Warning_
    from autoscorer.schemas.result import Result


def make_context(
    frame: Frame,
    *,
    backend: str = "auto",
    isolation: str = "hardened",
    keep: bool = False,
    plots: bool = False,
) -> JobContext:
    """The job's context from a command's options; usage errors for names that are not known."""
    from autoscorer import runtime

    parse_choice(backend, ["auto", *runtime.backend_names()], "--backend")
    parse_choice(isolation, ["hardened", "trusted"], "--isolation")
    return runtime.job_context(
        frame.settings,
        frame.catalog,
        cache=frame.cache,
        backend=backend,
        isolation=cast("Isolation", isolation),
        on_stage=frame.on_stage,
        stop=frame.stop,
        keep_attempt=keep,
        plots=plots,
    )


def make_executor(frame: Frame, backend: str) -> Executor:
    """The backend called ``backend``; a usage error for a name that is not known."""
    from autoscorer import runtime

    parse_choice(backend, ["auto", *runtime.backend_names()], "--backend")
    return runtime.make_executor(backend, frame.settings)


def scored_answer(scored: Scored) -> Answer:
    """The answer of a job that was scored."""
    return result_answer(scored.result, str(scored.path), scored.warnings)


def result_answer(result: Result, where: str, warnings: Sequence[Warning_] = ()) -> Answer:
    """The answer of a scoring; ``where`` is the path of result.json, empty if none was written."""

    def panel() -> RenderableType:
        from autoscorer.commands._panels import result_panel  # rich: 30 ms that a pipe need not wait for

        return result_panel(result, where)

    return Answer({"result": result.to_json(), "result_path": where or None}, panel, warnings)
