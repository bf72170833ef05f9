"""A private PostgreSQL on a unix socket in a folder of its own, gone with the test run."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@functools.cache
def missing_postgres() -> str | None:
    """Why there is no PostgreSQL to test with, if there is none."""
    if _programs() is None:
        return "PostgreSQL's initdb and postgres are missing (apt-get install postgresql)"
    return None


def _programs() -> Path | None:
    found = shutil.which("initdb")
    folders = (
        [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server of our own."""

    folder: Path

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={quote(str(self.folder), safe='')}"

    def restart(self) -> None:
        """Stop it, whatever it is doing, and start it again."""
        self._control("restart", "-m", "immediate", "-l", str(self.folder / "log"))

    def stop(self) -> None:
        """Stop it, whatever it is doing."""
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off -c max_connections=200"
        self._control("start", "-l", str(self.folder / "log"), "-o", options)

    def _control(self, *arguments: str) -> None:
        _as_postgres("pg_ctl", "-D", str(self.folder / "data"), "-s", "-w", "-t", "30", *arguments)


@contextmanager
def postgres() -> Iterator[Server]:
    """Make it, run it, remove it. Nothing of it is synced to the disk: power cuts are not what is tested."""
    folder = Path(tempfile.mkdtemp(prefix="autoscorer-pg-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    server = Server(folder)
    try:
        _as_postgres(
            "initdb",
            "-D",
            str(folder / "data"),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        )
        server.start()
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(folder)


def _as_postgres(program: str, *arguments: str) -> None:
    folder = _programs()
    assert folder is not None
    command: Sequence[str] = (str(folder / program), *arguments)
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        command = ("runuser", "-u", "postgres", "--", *command)
    subprocess.run(command, check=True, capture_output=True, cwd="/tmp", timeout=120)
