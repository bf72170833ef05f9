"""One data set to score: the files of both sides in memory, so that a contract can alter them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from autoscorer.reading.source import Role
from autoscorer.schemas.result import canonical_json
from autoscorer.schemas.scorer import Example, ScorerCard
from autoscorer.scorers.examples import encoded, write_files
from autoscorer.scorers.view import file_names
from autoscorer.utils.errors import AutoscorerError

MAX_BYTES = 64 * 2**20
SHOWN_CHARACTERS = 240
Files = Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Files by name below `reference/` and `output/`, and the parameters.

    `input/` is the folder ``input_dir``, or, where the truth lay in it, the ``other_input``. ``perfect`` are
    predictions that are right, where a copy of the truth is none.
    """

    reference: Files
    predictions: Files
    params: Mapping[str, Any] = field(default_factory=dict)
    perfect: Files | None = None
    input_dir: Path | None = None
    other_input: Files = field(default_factory=dict)

    @classmethod
    def of_example(cls, example: Example, params: Mapping[str, Any] | None = None) -> Self:
        """The data that a scorer brings along, with its parameters unless others are given."""
        return cls(
            reference=encoded(example.reference),
            predictions=encoded(example.predictions),
            params=dict(example.params if params is None else params),
            perfect=None if example.perfect is None else encoded(example.perfect),
        )

    @classmethod
    def of_view(cls, card: ScorerCard, view: Path, params: Mapping[str, Any]) -> Self:
        """The truth and the delivered files in a view of a workspace.

        Raises AutoscorerError BAD_FORMAT for more than 64 MiB.
        """
        reference = _read_tree(view / "reference", Role.REFERENCE)
        input_dir: Path | None = view / "input"
        other_input: dict[str, bytes] = {}
        if not reference:
            other_input = _read_tree(view / "input", Role.REFERENCE)
            truth = [name for name in card.reference_files if name in other_input]
            reference = {name: other_input.pop(name) for name in truth}
            input_dir = None
        return cls(
            reference=reference,
            predictions=_read_tree(view / "output", Role.PREDICTION),
            params=dict(params),
            input_dir=input_dir.resolve() if input_dir and input_dir.is_dir() else None,
            other_input=other_input,
        )

    @property
    def key(self) -> object:
        """Equal for equal data."""
        files = (tuple(sorted(self.files(role).items())) for role in Role)
        return (*files, canonical_json(dict(self.params)))

    def files(self, role: Role) -> Files:
        """The files of one side."""
        return self.reference if role is Role.REFERENCE else self.predictions

    def name_of(self, card: ScorerCard, role: Role) -> str | None:
        """The file of ``role`` that the scorer reads, None if there is none of its names."""
        return next((name for name in file_names(card, role) if name in self.files(role)), None)

    def with_file(self, role: Role, name: str, content: bytes | None) -> Case:
        """The same with another content of one file; None takes the file away."""
        files = dict(self.files(role))
        if content is None:
            files.pop(name)
        else:
            files[name] = content
        if role is Role.REFERENCE:
            return replace(self, reference=files)
        return replace(self, predictions=files)

    def write(self, root: Path) -> Path:
        """Lay the case out below the new folder ``root`` as a scorer finds it; returns it."""
        folders = {"reference": self.reference, "output": self.predictions}
        write_files(root, folders if not self.other_input else {**folders, "input": self.other_input})
        if self.input_dir is not None:
            (root / "input").symlink_to(self.input_dir)
        return root

    def shown(self, role: Role, name: str) -> str:
        """The beginning of a file, for a message."""
        content = self.files(role).get(name, b"")
        text = content[: 4 * SHOWN_CHARACTERS].decode("utf-8", "replace")
        return repr(text[:SHOWN_CHARACTERS]) + ("…" if len(text) > SHOWN_CHARACTERS else "")


def _read_tree(folder: Path, role: Role) -> dict[str, bytes]:
    """All files below ``folder`` by relative name; none if it is not there."""
    found: dict[str, bytes] = {}
    size = 0
    for directory, _, names in os.walk(folder, followlinks=False):
        for path in (Path(directory) / name for name in sorted(names)):
            size += path.stat().st_size
            if size > MAX_BYTES:
                message = f"{folder.name}/ holds more than {MAX_BYTES} bytes: too much to try variants of"
                raise AutoscorerError("BAD_FORMAT", message, {"expected": "a small workspace"}, cause=role)
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found
