"""Attacks on memory: its own, its children's, swap, and file systems that are memory."""

from __future__ import annotations

from tests.attacks.case import Attack, Plain

BOMB = """
import os
held = []
for _ in range(int(os.environ["GOAL"])): held.append(b"x" * 2**20)
print("WON", flush=True)
"""
IN_A_CHILD = f"""
import subprocess, sys
bomb = {BOMB!r}
sys.exit(0 if subprocess.run([sys.executable, "-c", bomb]).returncode else 0)
"""
SWAP = """
import os, pathlib
old, new = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
if (old / "memory.memsw.limit_in_bytes").exists():
    both, memory = (int((old / f"memory.{name}limit_in_bytes").read_text()) for name in ("memsw.", ""))
    swap = both - memory
else:
    text = (new / "memory.swap.max").read_text().strip()
    swap = 2**60 if text == "max" else int(text)
if swap > 0: print("WON", swap, flush=True)
"""
FILL = """
import os
def fill(path, goal, written=0):
    with open(path, "wb", buffering=0) as file:
        while written < goal:
            try: written += file.write(b"x" * 2**20)
            except OSError: break
    return written
goal = int(os.environ["GOAL"]) * 2**20
"""
SHM = FILL + 'if fill("/dev/shm/fill", goal) >= goal: print("WON", flush=True)'
TMPFS = FILL + (
    'got = fill("/dev/shm/fill", goal); got += fill("/tmp/fill", goal - got)\n'
    "held = []\n"
    'while got < goal: held.append(b"x" * 2**20); got += 2**20\n'
    'print("WON", flush=True)'
)
SMALL = {"memory": "96Mi"}

ATTACKS = [
    Attack(
        name="memory bomb in the first process",
        program=BOMB,
        goal=400,
        resources=SMALL,
        expected=("MEMORY_LIMIT",),
        control=Plain(),
    ),
    Attack(
        name="memory bomb in a child, exit 0",
        program=IN_A_CHILD,
        goal=400,
        resources=SMALL,
        expected=(None,),
        control=Plain(),
    ),
    Attack(
        name="swap beside memory",
        program=SWAP,
        resources=SMALL,
        expected=(None,),
        control=Plain(options={"mem_limit": "96m"}),
    ),
    Attack(
        name="shared memory beyond its size",
        program=SHM,
        goal=100,
        expected=(None,),
        control=Plain(options={"shm_size": "128m"}),
    ),
    Attack(
        name="/dev/shm and /tmp as memory",
        program=TMPFS,
        goal=400,
        resources=SMALL,
        expected=("MEMORY_LIMIT",),
        control=Plain(options={"shm_size": "200m", "tmpfs": {"/tmp": ""}}),
    ),
]
