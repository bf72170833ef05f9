"""docs/PLATFORM_INTEGRATION.md, done word for word against a real `serve`: what it shows is what comes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli import environment
from tests.commands.test_serve import served
from tests.test_tutorial import STEP, TUTORIAL, missing
from tests.workspaces import ROOT

PAGE = ROOT / "docs" / "PLATFORM_INTEGRATION.md"
NEXT = "--- next block ---"
BOUND_S = 240


def checkout(folder: Path) -> Path:
    """What the guide needs of one, with nothing that runs have left."""
    for name in ("examples", "custom_scorers"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("output", ".*", "logs"))
    return folder


def on_a_shell(blocks: list[str], folder: Path) -> list[str]:
    """What each block prints when one shell runs them all in turn."""
    script = f"\necho; echo '{NEXT}'\n".join(blocks)
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    with subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env=environment(PATH=path, DATA_DIR=str(folder / "kept")),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            printed = shell.communicate(timeout=BOUND_S)[0]
        finally:
            with suppress(ProcessLookupError):  # what a step that failed has left running
                os.killpg(shell.pid, signal.SIGKILL)
    assert "Traceback" not in printed, printed
    return printed.split(NEXT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def steps() -> tuple[dict[str, str], list[str], list[str]]:
    """The files, the shell blocks, and for each of these what the page shows of it."""
    (tutorial,) = TUTORIAL.findall(PAGE.read_text(encoding="utf-8"))
    files: dict[str, str] = {}
    blocks: list[str] = []
    shown: list[str] = []
    for action, name, language, block in STEP.findall(tutorial):
        if action == "file":
            files[name] = block
        elif language == "sh":
            blocks.append(block)
            shown.append("")
        else:
            assert language == "text"
            shown[-1] += block
    return files, blocks, shown


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.skipif(not all(map(shutil.which, ("curl", "jq"))), reason="needs curl and jq")
def test_the_guide_goes_as_it_says(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    env = {
        "WORKSPACE_ROOT": str(folder),
        "SCORERS_DIR": str(folder / "custom_scorers"),
        "DATA_DIR": str(folder / ".cache" / "serve"),
        "LOG_DIR": str(folder / ".cache" / "serve" / "logs"),
        "HOME": str(folder),
        "MIN_FREE_DISK": "0",
        "CALLBACK_ALLOWED_HOSTS": '["127.0.0.1"]',
    }
    with served(env) as service:
        ports = {"localhost:8000": f"localhost:{service.url.rpartition(':')[2]}", "9000": str(free_port())}

        def here(text: str) -> str:
            for stands, is_here in ports.items():
                text = text.replace(stands, is_here)
            return text

        files, blocks, shown = steps()
        for name, text in files.items():
            (folder / name).write_text(here(text))
        came = on_a_shell([here(block) for block in blocks], folder)
    assert len(came) == len(blocks) >= 12
    for block, text, screen in zip(blocks, shown, came, strict=True):
        assert missing(text, screen) == [], f"{block}\n{screen}"
