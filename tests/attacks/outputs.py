"""Attacks by what stands in output/ when the program ends."""

from __future__ import annotations

import os

from tests.attacks.arena import Arena
from tests.attacks.case import Attack, Control, Harm, Plain, Seen, leaks, platform_fails, takes, won

# From an attempt's output folder on the host, where a naive harvest would follow the link.
TO_TRUTH = "../../../reference/gt.csv"
SWAPPER = f"""
import os, time
def swap():
    while True:
        open("output/.file", "w").write("mine")
        os.symlink("{TO_TRUTH}", "output/.link")
        os.rename("output/.file", "output/pred.csv")
        os.rename("output/.link", "output/pred.csv")
if os.fork() == 0: swap()
time.sleep(int(os.environ["GOAL"]) / 10)
"""


def check_then_read_while_it_swaps(arena: Arena, attack: Attack) -> Seen:
    """A harvest that looks first and reads then, beside a program that is not stopped for it."""
    with arena.running(attack, goal=600) as out:
        taken = arena.folder("taken")
        for _ in range(200_000):
            path = out / "pred.csv"
            if path.exists() and not path.is_symlink():
                os.sched_yield()
                (taken / "pred.csv").write_bytes(path.read_bytes())
            if leaks(seen := Seen(log=b"", output=taken)):
                break
    return seen


def plants_a_result(seen: Seen) -> bool:
    """The program's own result.json stands where the platform's belongs."""
    path = seen.output / "result.json"
    return path.exists() and b"planted" in path.read_bytes()


def takes_any(seen: Seen) -> bool:
    return any(path.name != "result.json" for path in seen.output.iterdir())


def attack(name: str, program: str, harm: Harm, *codes: str | None, control: Control | None = None) -> Attack:
    return Attack(
        name=name,
        program=program,
        harm=harm,
        expected=codes or ("OUTPUT_INVALID",),
        control=control or Plain(),
    )


ATTACKS = [
    attack("link to the truth", f'import os; os.symlink("{TO_TRUTH}", "output/pred.csv")', leaks),
    attack(
        "link to a file of the host",
        'import os; os.symlink("/etc/hostname", "output/pred.csv")',
        takes("pred.csv"),
    ),
    attack("link to itself", 'import os; os.symlink("pred.csv", "output/pred.csv")', platform_fails),
    attack("linked folder", 'import os; os.symlink("../../../reference", "output/more")', leaks),
    attack("named pipe", 'import os; os.mkfifo("output/pred.csv")', platform_fails),
    attack(
        "socket",
        'import socket; socket.socket(socket.AF_UNIX).bind("output/pred.csv")',
        platform_fails,
    ),
    attack(
        "device",
        'import os; os.mknod("output/pred.csv", 0o20666, os.makedev(1, 5))',
        platform_fails,
        "CONTAINER_EXIT_NONZERO",
    ),
    attack(
        "hard link",
        'import os; open("output/a", "w").write("x"); os.link("output/a", "output/pred.csv")',
        takes("pred.csv"),
    ),
    attack(
        "hard link to the input",
        'import os; os.link("input/data.csv", "output/pred.csv"); print("WON")',
        won,
        "CONTAINER_EXIT_NONZERO",
        control=Plain(one_mount=True),
    ),
    attack(
        "file nobody may read",
        'import os; open("output/pred.csv", "w").write("x"); os.chmod("output/pred.csv", 0)',
        takes("pred.csv"),
    ),
    attack("name with a line break", 'open("output/a\\nb.csv", "w").write("x")', takes_any),
    attack("name that is no UTF-8", 'open(b"output/\\xff\\xfe.csv", "w").write("x")', takes_any),
    attack(
        "planted result.json",
        'open("output/result.json", "w").write("planted: 1.0"); open("output/pred.csv", "w").write("x")',
        plants_a_result,
        None,
    ),
    Attack(
        name="file and link swapped all the time",
        program=SWAPPER,
        goal=3,
        harm=leaks,
        expected=(None, "OUTPUT_INVALID"),
        control=check_then_read_while_it_swaps,
    ),
]
