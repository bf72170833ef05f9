"""What the commands about a task have in common: how a job is shown, and how its end is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from autoscorer.commands._frame import EXIT_FAILED, Answer, Frame

if TYPE_CHECKING:
    from rich.console import RenderableType

    from autoscorer.client import Client
    from autoscorer.schemas.result import Result
    from autoscorer.schemas.service import JobView

LOOK_EVERY_S = 1.0
STILL_RUNNING = "STILL_RUNNING"


def wait_answer(frame: Frame, client: Client, task_id: str) -> Answer:
    """The answer that is a job's end, with the exit code of the job; watched on a terminal.

    Told to stop, it ends the watching and says how to end the job.
    """
    try:
        with _shown(frame, client, task_id):
            job = client.wait(task_id)
    except KeyboardInterrupt:
        return _left(task_id)
    return ended_answer(client, job)


def ended_answer(client: Client, job: JobView) -> Answer:
    """A job that has ended: its result, or its error."""
    from autoscorer.client.jobs import failure_of

    error = failure_of(job)
    has_result = error is None and job.action != "run"
    result = client.result(job.task_id) if has_result else None
    data = _data(job) | {"result": result.to_json() if result else None}
    return Answer(data, lambda: _end_panel(job, result), error=error)


def job_answer(job: JobView, more: Mapping[str, Any] | None = None) -> Answer:
    """A job as it stands; ``more`` is told beside it."""
    return Answer({**_data(job), **(more or {})}, lambda: job_panel(job))


def _data(job: JobView) -> dict[str, Any]:
    """A job in JSON; its id stands where `/submit` has it, too."""
    return {"task_id": job.task_id, "job": job.model_dump(mode="json")}


def job_panel(job: JobView) -> RenderableType:
    """A job on a terminal: where it is, since when, whose turn it is, and what can be done next."""
    from rich.console import Group
    from rich.text import Text

    from autoscorer.commands._panels import pairs, printable, titled

    rows = {
        "task": job.task_id,
        "job": job.job_id,
        "action": job.action,
        "workspace": job.workspace,
        "state": progress_text(job),
        "turn of": job.turn,
        "made": job.created_at,
        **({"started": job.started_at, "waited": waited_text(job)} if job.started_at else {}),
        **({"ended": job.finished_at} if job.finished_at else {}),
        **({"error": f"{job.error.get('code')}: {job.error.get('message')}"} if job.error else {}),
    }
    told = Text(f"{printable(job.told.en)} {printable(job.told.zh)}", style="cyan")
    next_steps = [Text(f"→ autoscorer {verb} {job.task_id}", style="cyan") for verb in _next(job)]
    colour = {"succeeded": "green", "failed": "red"}.get(job.state, "cyan")
    return titled(job.state, Group(pairs(rows), Text(), told, *next_steps), colour=colour)


def progress_text(job: JobView) -> str:
    """Where a job is, in one line: state, stage, place in the queue, how long, which attempt."""
    parts = [job.state]
    if job.stage:
        parts.append(job.stage)
    if job.ahead is not None and not job.is_final:
        parts.append("next in the queue" if job.ahead == 0 else f"{job.ahead} ahead in the queue")
    if _waits_again(job):
        parts.append(f"to be tried again, attempt {job.attempt + 1} of {job.attempts_allowed}")
        return " · ".join(parts)
    if job.seconds is not None:
        parts.append(f"{job.seconds:.0f} s")
    if job.attempt > 1:
        parts.append(f"attempt {job.attempt} of {job.attempts_allowed}")
    return " · ".join(parts)


def waited_text(job: JobView) -> str:
    """How long a job that has started had waited for that; "unknown" where a server's times are none.

    Of one that was tried before, that may hold attempts which somebody had repeated: then it says less.
    """
    try:
        made = datetime.fromisoformat(job.created_at)
        started = datetime.fromisoformat(job.started_at or "")
        waited_s = max(0.0, (started - made).total_seconds())
    except (ValueError, TypeError):
        return "unknown"
    if job.attempt > 1:
        return f"{waited_s:.1f} s from made to started"
    return f"{waited_s:.1f} s in the queue" + (
        " before attempt 1, and waits again" if _waits_again(job) else ""
    )


def _waits_again(job: JobView) -> bool:
    """An attempt of it has ended by no fault of its own, and no worker has begun the next."""
    return job.state in ("queued", "released") and job.started_at is not None


def _next(job: JobView) -> tuple[str, str]:
    return ("logs", "wait") if job.is_final else ("wait", "cancel")


def _end_panel(job: JobView, result: Result | None) -> RenderableType:
    if result is None:
        return job_panel(job)
    from autoscorer.commands._panels import result_panel

    return result_panel(result, job.links.get("result", ""))


def _left(task_id: str) -> Answer:
    from autoscorer.commands._panels import pairs
    from autoscorer.schemas.envelope import Warning_

    message = f"the job goes on; `autoscorer cancel {task_id}` ends it, `autoscorer wait {task_id}` watches"
    warning = Warning_(code=STILL_RUNNING, message=message)
    data = {"task_id": task_id, "ended": False}
    return Answer(data, lambda: pairs({"left": task_id}), [warning], exit_code=EXIT_FAILED)


@contextmanager
def _shown(frame: Frame, client: Client, task_id: str) -> Iterator[None]:
    """Show where the job is, while the block waits for its end; a pipe stays quiet."""
    if not frame.shows_progress:
        yield
        return
    ended = threading.Event()
    looking = threading.Thread(target=_look, args=(frame, client, task_id, ended), daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join(LOOK_EVERY_S)


def _look(frame: Frame, client: Client, task_id: str, ended: threading.Event) -> None:
    from autoscorer.commands._panels import printable
    from autoscorer.utils.errors import AutoscorerError

    while not ended.is_set():
        try:
            text = progress_text(client.job(task_id))
        except AutoscorerError as exc:  # whoever waits hears of it; here it is a line on the screen
            text = f"the service does not answer ({exc.code}), waiting for it"
        frame.on_progress(printable(text))
        ended.wait(LOOK_EVERY_S)
