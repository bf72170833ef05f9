"""Every command's frame: configuration, boundary, answer, exit code."""

from __future__ import annotations

import io
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Never

import typer

from autoscorer import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from autoscorer.executor.base import StopReason
    from autoscorer.schemas.envelope import Warning_
    from autoscorer.scorers.catalog import Catalog
    from autoscorer.scorers.result_cache import ResultCache
    from autoscorer.utils.config import Config, Settings
    from autoscorer.utils.errors import AutoscorerError

EXIT_FAILED, EXIT_USAGE, EXIT_PLATFORM = 1, 2, 3


@dataclass
class Answer:
    """What a command found: JSON-ready ``data``, and a function that shows it on a terminal.

    ``error`` is of a job that the answer is about. ``exit_code`` is for an answer that is no error of a job
    but not fine either. ``is_told``: all of it has been printed already.
    """

    data: dict[str, Any]
    panel: Callable[[], RenderableType]
    warnings: Sequence[Warning_] = ()
    exit_code: int = 0
    error: AutoscorerError | None = None
    is_told: bool = False


@dataclass
class Frame:
    """One call of a command. ``isolate``: every scorer computes in a process apart.

    ``use_cache``: what is known is not computed again.
    """

    config_path: str | None
    as_json: bool
    warnings: list[Warning_] = field(default_factory=list)
    stop_asked: bool = False
    isolate: bool = False
    use_cache: bool = True
    resources: ExitStack = field(default_factory=ExitStack)
    _stage: str = ""
    _status: Any = None

    @cached_property
    def config(self) -> Config:
        """The configuration of this call; using its settings raises CONFIG_VALIDATION_ERROR when faulty."""
        from autoscorer.utils.config import Config

        return Config(self.config_path, must_exist=self.config_path is not None)

    @cached_property
    def settings(self) -> Settings:
        """The settings of this call, and the service log they name opened."""
        from autoscorer.schemas.envelope import Warning_
        from autoscorer.utils.logger import configure_service_log

        settings = self.config.settings
        doubts = [configure_service_log(settings), *self.config.warnings()]
        self.warnings += [Warning_(code="CONFIG_WARNING", message=text) for text in doubts if text]
        return settings

    @cached_property
    def catalog(self) -> Catalog:
        """The scorers of this call; what they start ends with it."""
        from autoscorer import runtime

        return self.resources.enter_context(runtime.open_catalog(self.settings, isolate=self.isolate))

    @cached_property
    def cache(self) -> ResultCache | None:
        """The results that are kept; what is wrong with it becomes a warning of this call."""
        if not self.use_cache:
            return None
        from autoscorer import runtime
        from autoscorer.schemas.envelope import Warning_
        from autoscorer.scorers.result_cache import UNUSABLE

        def on_problem(message: str) -> None:
            self.warnings.append(Warning_(code=UNUSABLE, message=message))

        return runtime.open_cache(self.settings, on_problem)

    def stop(self) -> StopReason | None:
        """Asked by a running job: was it told to stop?"""
        from autoscorer.executor.base import StopReason

        return StopReason.CANCELLED if self.stop_asked else None

    def interrupt(self, _signal: int, _frame: object) -> None:
        """A running program is ended by the job itself, which then says how; anything else breaks off."""
        if self._stage == "execute" and not self.stop_asked:
            self.stop_asked = True
        else:
            raise KeyboardInterrupt

    def on_stage(self, stage: str) -> None:
        """Show the stage a job is in; a pipe stays quiet."""
        self._stage = stage
        self.on_progress(stage)

    @property
    def shows_progress(self) -> bool:
        """Whether anybody sees what `on_progress` is told."""
        return self._status is not None

    def on_progress(self, text: str) -> None:
        """Show how far it is; a pipe stays quiet."""
        if (status := self._status) is not None:
            status.update(f"{text} …")

    def end_progress(self) -> None:
        """Show no more how far it is: what follows stays on the screen."""
        if (status := self._status) is not None:
            status.stop()

    @contextmanager
    def progress(self) -> Iterator[None]:
        """A spinner on a terminal's standard error while work goes on."""
        if self.as_json or not sys.stderr.isatty():
            yield
            return
        from rich.console import Console

        with Console(stderr=True).status("starting …") as self._status:
            yield
        self._status = None


def execute(context: typer.Context, work: Callable[[Frame], Answer], *, as_json: bool) -> Never:
    """Run ``work`` as a command: print its answer or its error, and exit with the right code."""
    from autoscorer.utils.errors import AutoscorerError

    started = time.perf_counter()
    frame = Frame(context.obj, as_json or not (sys.stdout and sys.stdout.isatty()))
    answer: Answer | None = None
    panel: RenderableType | None = None
    error: AutoscorerError | None = None
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, frame.interrupt)
        with frame.resources, frame.progress() if not frame.as_json else nullcontext():
            found = work(frame)
            panel = None if frame.as_json or found.is_told else found.panel()
            answer, error = found, found.error
    except AutoscorerError as exc:
        error = exc
    except KeyboardInterrupt:
        error = AutoscorerError("CANCELLED", "interrupted")
    except (typer.BadParameter, typer.Exit):
        raise
    except BaseException as exc:  # boundary of a command: our own fault, told without a traceback
        error = _internal(frame, exc)
    # Nobody listens any more (a closed or full standard output): the exit code still tells.
    with suppress(OSError):
        if not (answer and answer.is_told):
            _show(frame, answer, panel, error, time.perf_counter() - started)
    raise typer.Exit(_exit_code(answer, error))


def usage_error(message: str) -> Never:
    """End with exit code 2 and ``message``."""
    raise typer.BadParameter(message)


def parse_choice(value: str, choices: Sequence[str], option: str) -> str:
    """``value`` if it is one of ``choices``, else a usage error that names them."""
    if value not in choices:
        usage_error(f"{option} is {value!r}; known: {', '.join(choices)}")
    return value


def parse_params(text: str | None) -> dict[str, Any] | None:
    """`--params` as a JSON object, None if not given; a usage error otherwise."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        usage_error(f"--params is not valid JSON: {exc}")
    if not isinstance(value, dict):
        usage_error("--params must be a JSON object, for instance '{\"beta\": 2}'")
    return value


def _internal(frame: Frame, exc: BaseException) -> AutoscorerError:
    from autoscorer.utils.errors import AutoscorerError
    from autoscorer.utils.logger import log_event

    # Without a valid configuration there is no place for the log; the answer has to do.
    with suppress(AutoscorerError):
        log_event("ERROR", "command_internal_error", error=exc, settings=str(frame.settings.log_dir))
    return AutoscorerError("INTERNAL_ERROR", f"unexpected {type(exc).__name__} in the platform")


def _exit_code(answer: Answer | None, error: AutoscorerError | None) -> int:
    if error is None:
        return answer.exit_code if answer is not None else 0
    return EXIT_PLATFORM if error.blame in ("operator", "platform") else EXIT_FAILED


def _show(
    frame: Frame,
    answer: Answer | None,
    panel: RenderableType | None,
    error: AutoscorerError | None,
    seconds: float,
) -> None:
    warnings = [*frame.warnings, *(answer.warnings if answer else ())]
    if frame.as_json:
        _print_json(answer.data if answer else {}, error, warnings, seconds)
        return
    from autoscorer.commands._panels import error_panel, show

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if panel is not None:
        show(panel, warnings)
    if error is not None:
        show(error_panel(error), warnings)


def _print_json(
    data: Mapping[str, Any], error: AutoscorerError | None, warnings: Sequence[Warning_], seconds: float
) -> None:
    from autoscorer.schemas.envelope import make_envelope

    envelope = make_envelope(
        data=dict(data), error=error, execution_time_s=seconds, version=__version__, warnings=warnings
    )
    text = json.dumps(envelope.model_dump(mode="json"), ensure_ascii=False, indent=2)
    if sys.stdout is not None:
        # JSON is UTF-8 whatever the locale; a path's bytes that are none become an escape.
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
        sys.stdout.flush()
