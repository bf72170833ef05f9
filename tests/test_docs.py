"""The documents say what the code does: blocks, links, codes, command lines, two languages."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from scripts.make_docs import BLOCKS, ROOT, documents, rendered
from typer._click.exceptions import MissingParameter, UsageError
from typer.main import get_command

from autoscorer.cli import app
from autoscorer.utils.errors import code_table

DOCUMENTS = {str(path.relative_to(ROOT)): path for path in documents()}
PAIRS = sorted(name for name in DOCUMENTS if name.replace(".md", ".zh.md") in DOCUMENTS)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
ASSIGNMENT = re.compile(r"[A-Z][A-Z0-9_]*=")

every_document = pytest.mark.parametrize("name", DOCUMENTS)
every_pair = pytest.mark.parametrize("name", PAIRS)


@every_document
def test_the_generated_blocks_are_what_make_docs_would_write(name: str) -> None:
    text = DOCUMENTS[name].read_text(encoding="utf-8")
    assert rendered(text) == text, "run `make docs`"


def test_every_block_is_shown_somewhere() -> None:
    texts = [path.read_text(encoding="utf-8") for path in DOCUMENTS.values()]
    assert [
        block for block in BLOCKS if not any(f"<!-- generated: {block} -->" in text for text in texts)
    ] == []


def test_no_block_stands_empty() -> None:
    empty = "-->\n<!-- end generated"
    assert [name for name, path in DOCUMENTS.items() if empty in path.read_text(encoding="utf-8")] == []


@every_document
def test_every_link_leads_to_a_file_and_a_heading(name: str) -> None:
    broken = []
    for target, anchor in LINK.findall(_prose(DOCUMENTS[name])):
        path = DOCUMENTS[name].parent / target if target else DOCUMENTS[name]
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            broken.append(f"{target}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("name", ["docs/ERROR_HANDLING.md", "docs/ERROR_HANDLING.zh.md"])
def test_the_trouble_shooting_guide_has_a_section_for_every_code(name: str) -> None:
    headings = set(HEADING.findall(DOCUMENTS[name].read_text(encoding="utf-8")))
    assert {row.code for row in code_table()} - headings == set()


@every_document
def test_every_command_line_is_one_that_autoscorer_knows(name: str) -> None:
    text = DOCUMENTS[name].read_text(encoding="utf-8")
    shown = [(line, True) for line in _commands(text)]
    shown += [(span, False) for span in INLINE.findall(FENCE.sub("", text)) if span.startswith("autoscorer ")]
    refused = {line: why for line, complete in shown if (why := _refusal(line, complete=complete))}
    assert refused == {}


@pytest.mark.parametrize(
    "line", ["autoscorer scor examples/test", "autoscorer score --scorers f1", "autoscorer validate"]
)
def test_a_command_line_that_autoscorer_does_not_know_would_be_found(line: str) -> None:
    assert _refusal(line, complete=True)


@every_pair
def test_both_languages_have_the_same_code_and_tables(name: str) -> None:
    english, chinese = (DOCUMENTS[part] for part in (name, name.replace(".md", ".zh.md")))
    assert _code_blocks(chinese) == _code_blocks(english)
    assert _table_rows(chinese) == _table_rows(english)
    assert [
        len(re.findall(rf"^{'#' * depth} ", _prose(chinese), re.MULTILINE)) for depth in (1, 2, 3, 4)
    ] == [len(re.findall(rf"^{'#' * depth} ", _prose(english), re.MULTILINE)) for depth in (1, 2, 3, 4)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
@every_document
def test_every_jq_line_is_a_program_that_jq_takes(name: str) -> None:
    for line in _commands(DOCUMENTS[name].read_text(encoding="utf-8"), tool="jq"):
        words = shlex.split(line)
        arguments = [
            word for word in words[words.index("jq") :] if not word.endswith((".json", ".jsonl", ".log"))
        ]
        done = subprocess.run(arguments, input="", capture_output=True, text=True, check=False)
        assert done.returncode != 3, (line, done.stderr)  # jq's exit code for what it cannot compile


def _prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def _anchors(path: Path) -> set[str]:
    """What a heading is called in a link, as code hosts have it."""
    headings = HEADING.findall(_prose(path))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _commands(text: str, tool: str = "autoscorer") -> list[str]:
    """The lines of the shell blocks that call ``tool``, without comments."""
    blocks = [block for language, block in FENCE.findall(text) if language in ("", "sh")]
    lines = [re.sub(r"\s#.*", "", line) for block in blocks for line in block.splitlines()]
    return [line for line in lines if tool in line.split(" ")]


def _refusal(line: str, *, complete: bool) -> str:
    """Why the parser would refuse the `autoscorer` part of a command line; "" if it would not.

    A mention in prose (not ``complete``) may leave arguments out and say `COMMAND …` or `WS`.
    """
    words = shlex.split(line.partition(" | ")[0])
    while ASSIGNMENT.match(words[0]):
        words.pop(0)
    words = [word for word in words if word != "…"]
    if words[0] != "autoscorer" or "COMMAND" in words:
        return ""
    command: Any = get_command(app)
    context, arguments = None, words[1:]
    try:
        while arguments or not hasattr(command, "commands"):
            context = command.make_context(command.name, list(arguments), parent=context)
            if not hasattr(command, "commands"):
                return ""
            arguments = [*context._protected_args, *context.args]
            if arguments:
                _, command, arguments = command.resolve_command(context, arguments)
    except typer.Exit:  # --help, --version
        return ""
    except UsageError as exc:
        return "" if isinstance(exc, MissingParameter) and not complete else exc.format_message()
    return "a command is missing" if complete else ""


def _code_blocks(path: Path) -> list[str]:
    """Without drawings, whose words are translated, and without comments."""
    blocks = FENCE.findall(path.read_text(encoding="utf-8"))
    return [re.sub(r"\s*#.*", "", block) for language, block in blocks if language != "mermaid"]


def _table_rows(path: Path) -> list[int]:
    """The number of rows of each table."""
    tables = re.findall(r"(?:^\|.*\n)+", _prose(path), re.MULTILINE)
    return [found.count("\n") for found in tables]
