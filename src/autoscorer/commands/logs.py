"""`autoscorer logs`: what a task's container has printed, and with -f what it prints."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._options import JsonOption
from autoscorer.commands._service import TaskArgument, open_client


def command(
    context: typer.Context,
    task: TaskArgument,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what it prints until it has ended.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a task's container has printed, in a pipe byte for byte. Ctrl-C ends the watching alone."""

    def work(frame: Frame) -> Answer:
        from autoscorer.commands._panels import pairs

        pieces = open_client(frame).log(task, follow=follow)
        if as_json:
            text = b"".join(pieces).decode("utf-8", "replace")
            return Answer({"task_id": task, "log": text}, lambda: pairs({"log": text}))
        frame.end_progress()
        try:
            _print(pieces, is_raw=frame.as_json)
        except KeyboardInterrupt:
            note = f"no longer watched; the job goes on, and `autoscorer cancel {task}` ends it"
            print(f"\n{note}", file=sys.stderr)  # noqa: T201
        return Answer({}, lambda: "", is_told=True)

    execute(context, work, as_json=as_json)


def _print(pieces: Iterator[bytes], *, is_raw: bool) -> None:
    """As they come; to a terminal only what cannot drive it."""
    from autoscorer.commands._panels import printable

    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        if is_raw:
            sys.stdout.buffer.write(piece)
        else:
            sys.stdout.write(printable(decoder.decode(piece).replace("\r\n", "\n").replace("\r", "\n")))
        sys.stdout.flush()
