"""Attacks by processes and signals: as many as they can, and none that ends when it should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.attacks.arena import Arena, naive_harvest
from tests.attacks.case import TOKEN, Attack, Plain, Seen, lacks, still_alive
from tests.executor.attempts import eventually, processes_with

FORK_BOMB = """
import os, time
goal, made = int(os.environ["GOAL"]), 0
def bomb():
    while True:
        try: os.fork()
        except OSError: pass
while made < goal:
    try:
        if os.fork() == 0:
            if made > 400 and goal > 10_000: bomb()
            time.sleep(300)
        made += 1
    except OSError: pass
    if made == 600: print("WON", flush=True)
"""
ZOMBIES = """
import os, time
for _ in range(300):
    if (child := os.fork()) == 0:
        if os.fork() == 0: time.sleep(0.05)
        os._exit(0)
    os.waitpid(child, 0)
def zombies():
    found = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try: found += open(f"/proc/{name}/stat").read().rpartition(")")[2].split()[0] == "Z"
        except OSError: pass
    return found
deadline = time.monotonic() + 2
while zombies() > 50 and time.monotonic() < deadline: time.sleep(0.05)
if zombies() > 50: print("WON", flush=True)
"""
IGNORES_SIGTERM = """
import os, signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(int(os.environ["GOAL"]))
print("WON", flush=True)
"""
STOPS_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
CLOSES_STDOUT = """
import os, time
for number in range(3): os.close(number)
time.sleep(1)
open("output/late", "w").close()
"""
DAEMON = """
import os, sys, time
flag = sys.argv[1] if len(sys.argv) > 1 else "output/up"
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(flag, "w").close()
        time.sleep(60)
    os._exit(0)
while not os.path.exists(flag): pass
"""


def daemon_of_a_plain_process(_arena: Arena, attack: Attack) -> Seen:
    """What the daemon does when only its parent is waited for."""
    token, flag = f"control-{os.getpid()}-{time.monotonic_ns()}", f"/tmp/up-{time.monotonic_ns()}"
    subprocess.run([sys.executable, "-c", attack.program, flag], env={TOKEN: token}, check=True)
    alive = processes_with(token)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: processes_with(token) == [])
    Path(flag).unlink()
    return Seen(log=b"", output=Path("/nowhere"), alive=len(alive))


def output_of_a_plain_process_at_the_end_of_its_log(arena: Arena, attack: Attack) -> Seen:
    """What is there for one who takes the end of a log for the end of the program."""
    folder = arena.folder("plain")
    (folder / "output").mkdir()
    command = [sys.executable, "-c", attack.program]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        log = process.stdout.read()
        taken = arena.folder("taken")
        naive_harvest(folder / "output", taken)
    return Seen(log=log, output=taken)


ATTACKS = [
    Attack(
        name="fork bomb",
        program=FORK_BOMB,
        goal=10**9,
        time_limit_s=3,
        resources={"memory": "1Gi"},
        expected=("TIME_LIMIT",),
        control=Plain(goal=600),
    ),
    Attack(name="zombies", program=ZOMBIES, expected=(None,), control=Plain()),
    Attack(
        name="ignores every signal",
        program=IGNORES_SIGTERM,
        goal=60,
        time_limit_s=1,
        expected=("TIME_LIMIT",),
        control=Plain(goal=0),
    ),
    Attack(
        name="stops itself",
        program=STOPS_ITSELF,
        time_limit_s=1,
        expected=("TIME_LIMIT",),
        control=Plain(options={"init": True}, give_up_s=1.5),
    ),
    Attack(
        name="endless loop",
        program="while True: pass",
        time_limit_s=1,
        expected=("TIME_LIMIT",),
        control=Plain(give_up_s=1.5),
    ),
    Attack(
        name="closes its standard output and goes on",
        program=CLOSES_STDOUT,
        expected=(None,),
        harm=lacks("late"),
        control=output_of_a_plain_process_at_the_end_of_its_log,
    ),
    Attack(
        name="leaves daemons",
        program=DAEMON,
        expected=(None,),
        harm=still_alive,
        control=daemon_of_a_plain_process,
    ),
]
