"""`autoscorer scorers load`: load the scorers of a file or a package folder, for every call from now on."""

from __future__ import annotations

import typer

from autoscorer.commands._frame import Answer, Frame, execute
from autoscorer.commands._loads import FileOption, ReplaceOption, loaded_answer
from autoscorer.commands._options import JsonOption


def command(
    context: typer.Context,
    *,
    file_path: FileOption,
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Load the scorers of a file or a package folder; a copy is checked and kept."""

    def work(frame: Frame) -> Answer:
        return loaded_answer(frame.catalog.library.load(file_path, replace=replace))

    execute(context, work, as_json=as_json)
