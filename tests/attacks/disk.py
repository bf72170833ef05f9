"""Attacks on the disk by output and by log."""

from __future__ import annotations

from tests.attacks.case import (
    MIB,
    Attack,
    Plain,
    log_larger_than,
    platform_fails,
    shows_control_characters,
)

LOG_CAP = 10 * MIB + 4096

# As fast as it can, unless it is told to pause after each file.
FILL = """
import os, sys, time
os.chdir("output")
{aside}
for number in range(int(os.environ["GOAL"])):
    try:
        with open(str(number), "wb") as file: file.write(b"x" * 2**20)
    except OSError: sys.exit(3)
    time.sleep(float(os.environ.get("PAUSE_S", "0")))
print("WON", flush=True)
"""
IN_HIDDEN = 'os.mkdir("hidden", 0o300); os.chdir("hidden")'
FAR_DOWN = 'for _ in range(18): os.mkdir("d" * 250); os.chdir("d" * 250)'
MANY_FILES = """
import os, sys, time
for number in range(int(os.environ["GOAL"])):
    try: os.close(os.open(f"output/{number}", os.O_CREAT | os.O_WRONLY))
    except OSError: sys.exit(3)
    if number == 15_000: print("WON", flush=True)
    time.sleep(float(os.environ.get("PAUSE_S", "0")))
"""
DEEP = """
import os
os.chdir("output")
for _ in range(int(os.environ["GOAL"])):
    os.mkdir("d"); os.chdir("d")
"""
SPARSE = 'import os; open("output/pred.csv", "w").close(); os.truncate("output/pred.csv", 10**13)'
FLOOD = """
import os, sys
for _ in range(int(os.environ["GOAL"])): sys.stdout.buffer.write((b"x" * 1023 + b"\\n") * 2**10)
"""
ONE_LINE = 'import os, sys; [sys.stderr.buffer.write(b"x" * 2**20) for _ in range(int(os.environ["GOAL"]))]'
ESCAPES = """
import sys
sys.stderr.buffer.write(b"\\x1b]0;owned\\x07\\x1b[2J\\0 error: all is well\\n"); sys.exit(1)
"""
CAP = {"MAX_OUTPUT_BYTES": "20Mi"}

ATTACKS = [
    *(
        Attack(
            name=f"fills the disk{where}",
            program=FILL.format(aside=aside),
            goal=10_000,
            settings=CAP,
            expected=("OUTPUT_LIMIT",),
            control=Plain(goal=100),
        )
        for where, aside in (
            ("", ""),
            (" in a folder that cannot be read", IN_HIDDEN),
            (" below a path too long to name", FAR_DOWN),
        )
    ),
    Attack(
        name="a million empty files",
        program=MANY_FILES,
        goal=10**6,
        settings=CAP,
        time_limit_s=300,  # where output is counted from outside, a busy disk makes that slow
        expected=("OUTPUT_LIMIT",),
        control=Plain(goal=15_001),
    ),
    Attack(
        name="10,000 folders deep",
        program=DEEP,
        goal=10_000,
        settings=CAP,
        harm=platform_fails,
        expected=("OUTPUT_LIMIT", "OUTPUT_INVALID"),
        control=Plain(goal=2_500),
    ),
    Attack(
        name="sparse file of 10 TB",
        program=SPARSE,
        settings=CAP,
        harm=platform_fails,
        expected=("OUTPUT_LIMIT", "CONTAINER_EXIT_NONZERO"),
        control=Plain(),
    ),
    Attack(
        name="log flood of 100 MB",
        program=FLOOD,
        goal=100,
        time_limit_s=60,
        harm=log_larger_than(LOG_CAP),
        expected=(None,),
        control=Plain(goal=11),
    ),
    Attack(
        name="log flood of 1 GB",
        program=FLOOD,
        goal=1024,
        time_limit_s=120,
        harm=log_larger_than(LOG_CAP),
        expected=(None,),
        control=Plain(goal=11),
        long=True,
    ),
    Attack(
        name="one line of 100 MB",
        program=ONE_LINE,
        goal=100,
        time_limit_s=60,
        harm=log_larger_than(LOG_CAP),
        expected=(None,),
        control=Plain(goal=11),
    ),
    Attack(
        name="NUL and terminal escapes in the log",
        program=ESCAPES,
        harm=shows_control_characters,
        expected=("CONTAINER_EXIT_NONZERO",),
        control=Plain(),
    ),
]
