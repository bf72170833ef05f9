"""The zygote's memory lies in large pages where the machine has them; what is in it stays as it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from autoscorer.scorers.child.pages import LARGE_BYTES, _blocks

MAPS = """\
200000-800000 rw-p 00000000 00:00 0                          [heap]
900000-e01000 rw-p 00000000 00:00 0
1000000-1800000 rw-p 00000000 08:01 77                       /usr/lib/libx y.so
1800000-2000000 r--p 00000000 00:00 0
2000000-2800000 rw-s 00000000 00:01 9                        /dev/zero (deleted)
2800000-2900000 rw-p 00000000 00:00 0
7ffd00000000-7ffd00800000 rw-p 00000000 00:00 0              [stack]
"""
PROGRAM = """
import mmap
from autoscorer.scorers.child.pages import gather
memory = mmap.mmap(-1, 8 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.write(bytes(range(256)) * (len(memory) // 256))
made = gather()
assert memory[:] == bytes(range(256)) * (len(memory) // 256)
print(made, sum(int(line.split()[1]) for line in open("/proc/self/smaps") if line.startswith("AnonHuge")))
"""


def test_only_whole_large_pages_of_private_memory_are_gathered() -> None:
    assert list(_blocks(MAPS)) == [0x200000, 0x400000, 0x600000, 0xA00000, 0xC00000]


def test_what_a_process_has_written_is_the_same_in_large_pages() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    made, huge_kib = map(int, run.stdout.split())
    if made == 0:
        pytest.skip("this kernel makes no large pages on demand (Linux 6.1)")
    assert huge_kib * 1024 >= made * LARGE_BYTES // 2
    assert made >= 3
