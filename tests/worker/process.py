"""Workers as processes of their own: `python -m tests.worker.process ROOT URL`, then one order a line.

An order is JSON: {"worker": name, "at": point, "deed": kill|stop}. Each worker is a fork of this process,
which imports and never computes, so that it starts in milliseconds; it works until nothing waits.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.worker import sabotage
from tests.worker.sites import Site, site_at, until


def main() -> None:
    site = site_at(Path(sys.argv[1]), sys.argv[2])
    threading.Thread(target=_reap, daemon=True).start()
    _say({"ready": os.getpid()})
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _work(site, order)
        _say({"started": pid})


def _work(site: Site, order: dict[str, str]) -> None:
    code = 1
    try:
        if order.get("at"):
            sabotage.install(order["at"], order["deed"])
        store = site.open_store()
        site.drain(store, site.worker(store, order["worker"]))
        store.close()
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            select.select([], [], [], 0.01)  # relative: this process may have a wrong clock
            continue
        _say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _say(words: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


@dataclass
class Workers:
    """The parent's side: starts workers, hears of their ends."""

    process: subprocess.Popen[str]
    ended: dict[int, int] = field(default_factory=dict)
    started: list[int] = field(default_factory=list)

    def start(self, worker: str, *, at: str = "", deed: str = "kill") -> int:
        """A worker's process; it works until nothing waits, or until its deed."""
        count = len(self.started)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"worker": worker, "at": at, "deed": deed}) + "\n")
        self.process.stdin.flush()
        until(lambda: len(self.started) > count, what="a worker starts")
        return self.started[count]

    def join(self, pid: int) -> int:
        """Its exit code; the negative number of the signal that ended it."""
        until(lambda: pid in self.ended, what="a worker ends")
        return self.ended[pid]

    def is_stopped_or_over(self, pid: int) -> bool:
        if pid in self.ended:
            return True
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except OSError:
            return False

    def signal(self, pid: int, number: int) -> None:
        """One that has ended meanwhile, heard of or not, has no use for it."""
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def hear(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            words = json.loads(line)
            if "started" in words:
                self.started.append(words["started"])
            elif "ended" in words:
                self.ended[words["ended"]] = words["code"]


@contextmanager
def workers(site: Site, environ: Mapping[str, str] | None = None) -> Iterator[Workers]:
    """The process that workers are forked from, ended with all of them."""
    command = [sys.executable, "-m", "tests.worker.process", str(site.root), site.url]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **(environ or {})},
    )
    found = Workers(process)
    listener = threading.Thread(target=found.hear, daemon=True)
    listener.start()
    try:
        yield found
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        listener.join(10)
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


if __name__ == "__main__":
    main()
