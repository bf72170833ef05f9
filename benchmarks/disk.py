"""A temporary folder on a disk as servers have it: ext4 with a journal."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IMAGE_BYTES = 4 * 2**30  # sparse
JOURNALS = Path("/proc/fs/jbd2")  # a folder for each file system that has one
NO_JOURNAL = "ext4 without a journal"


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder that is gone afterwards. On ext4 without a journal, as some virtual machines have it, it is a
    file system of its own with one, in a file on that disk, if we may mount it.

    Without a journal each file that is made costs a search through the inodes of those deleted in the last
    minutes *(measured: 0.8 to 10 ms of processor time a job, with one 0.5)*, which is no matter of ours.
    """
    with tempfile.TemporaryDirectory(prefix="autoscorer-bench-") as folder:
        root = Path(folder)
        if described(root) != NO_JOURNAL or os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
            yield root
            return
        image, mounted = root / "disk.img", root / "disk"
        mounted.mkdir()
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
        try:
            yield mounted
        finally:
            subprocess.run(["umount", str(mounted)], check=True)


def described(folder: Path) -> str:
    """The kind of file system that ``folder`` lies on, in words."""
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    kinds = (line.partition(" - ")[2].split()[0] for line in mounts if line.split()[2] == number)
    kind = next(kinds, "an unknown file system")
    if kind != "ext4":
        return kind
    name = Path("/sys/dev/block", number).resolve().name
    return "ext4 with a journal" if any(JOURNALS.glob(f"{name}-*")) else NO_JOURNAL
