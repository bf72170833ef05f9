"""A process that is forked without Python's own handlers is as good as any other."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORKING = """
import os, random, sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from autoscorer.confine import forking
called = []
os.register_at_fork(before=lambda: called.append("before"), after_in_child=lambda: called.append("child"))
reading, writing = os.pipe()
pid = forking.fork()
if pid == 0:
    if sys.argv[1] == "anew": forking.begin_anew()
    with ThreadPoolExecutor(2) as pool: threads = sum(pool.map(abs, range(-3, 0)))
    with get_context("fork").Pool(2) as pool: processes = sum(pool.map(abs, range(-3, 0)))
    os.write(writing, f"{random.random()} {threads} {processes} {called[:1]}".encode())
    os._exit(7)
os.close(writing)
with open(reading) as file: theirs = file.read().split(maxsplit=1)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(float(theirs[0]) == random.random(), theirs[1], code, called)
"""


@pytest.mark.parametrize(("how", "is_same"), [("anew", False), ("as it is", True)])
def test_it_has_threads_and_processes_and_random_numbers_of_its_own(how: str, is_same: bool) -> None:
    """The second is the control: the numbers are its parent's. The pool of processes is forked by Python."""
    command = [sys.executable, "-c", FORKING, how]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told == f"{is_same} 6 6 ['before'] 7 []\n"


REFUSED = """
import os, resource
from autoscorer.confine import forking
if os.getuid() == 0: os.setuid(65533)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
try: forking.fork()
except BlockingIOError as exc: print(exc.strerror)
"""


def test_a_fork_that_the_machine_refuses_is_an_os_error() -> None:
    told = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, check=True).stdout
    assert told == "Resource temporarily unavailable\n"
