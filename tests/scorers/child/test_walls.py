"""What the walls around a scorer's process show and hide."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from autoscorer.confine import properties
from autoscorer.scorers.child import walls
from autoscorer.scorers.child.host import MAX_OPEN_FILES, ChildHost
from autoscorer.utils.errors import AutoscorerError
from tests.scorers.child import odd
from tests.scorers.library.sources import write

pytestmark = pytest.mark.sandbox
READS = """
try: open("{SECRET}").read()
except OSError: return good(won=0.0)
return good(won=1.0)
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder where a scorer's process can see what lies there: among the installed packages."""
    with TemporaryDirectory(dir=sys.prefix, prefix="autoscorer-test-") as folder:
        (Path(folder) / "secret").write_text("hunter2")
        yield Path(folder)


def test_the_platforms_folders_are_empty_even_in_a_tree_that_is_shown(data_dir: Path, tmp_path: Path) -> None:
    body = READS.replace("{SECRET}", str(data_dir / "secret"))
    control, host = ChildHost(odd.settings()), ChildHost(odd.settings(data_dir=data_dir))
    assert odd.score(control, tmp_path, body).result.metrics["won"] == 1.0
    assert odd.score(host, tmp_path, body).result.metrics["won"] == 0.0
    control.close()
    host.close()


def test_a_platforms_folder_that_is_not_there_is_not_made(data_dir: Path, tmp_path: Path) -> None:
    """Its mount point was made through the tree that is shown, on this machine."""
    host = ChildHost(odd.settings(data_dir=data_dir / "none"))
    assert odd.score(host, tmp_path, "return good()").result.metrics == {"m": 1.0}
    assert not (data_dir / "none").exists()
    host.close()


def test_a_result_names_every_wall_that_stands(host: ChildHost, tmp_path: Path) -> None:
    isolation = odd.score(host, tmp_path, "return good()").isolation
    assert isolation["mode"] == "child"
    assert isolation["not_enforced"] == [properties.HOST_USER]
    in_the_guide = walls.isolation(dict.fromkeys(walls.WALLS), {"memory": "cgroup", "pids": "cgroup"})
    assert in_the_guide["not_enforced"] == isolation["not_enforced"]


CAPABILITIES = """
lines = [line.split() for line in open("/proc/self/status") if line.startswith("Cap")]
return good(**{name.strip(":"): float(int(value, 16)) for name, value in lines})
"""


def test_a_scorers_process_holds_no_capability_and_cannot_get_one(host: ChildHost, tmp_path: Path) -> None:
    """Neither by itself nor by a program it execs: the bounding set is empty, too."""
    scoring = odd.score(host, tmp_path, CAPABILITIES)
    if os.geteuid() != 0 and properties.PROCESSES in scoring.isolation["not_enforced"]:
        pytest.skip("not as root, and without user namespaces, nobody may empty the bounding set")
    found = scoring.result.metrics
    assert found == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0.0)
    status = Path("/proc/self/status").read_text()
    (ours,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd"))
    assert ours > 0  # the control: it was not born so


@pytest.mark.parametrize(
    ("missing", "property_"),
    [
        (walls.NETWORK, properties.NETWORK),
        (walls.FILES, properties.PACKAGES),
        (walls.PIDS, properties.PROCESSES),
        (walls.IPC, properties.IPC),
        (walls.SECCOMP, properties.USER_NAMESPACES),
        (walls.CAPABILITIES, properties.CAPABILITIES),
    ],
)
def test_a_wall_that_could_not_be_raised_is_not_claimed(missing: str, property_: str) -> None:
    raised: dict[str, str | None] = dict.fromkeys(walls.WALLS)
    assert property_ in walls.isolation(raised, {})["enforced"]
    told = walls.isolation({**raised, missing: "Operation not permitted"}, {})
    assert property_ in told["not_enforced"]
    assert property_ not in told["enforced"]


def test_a_platforms_folder_is_hidden_in_a_tree_that_a_link_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search path may name a link, DATA_DIR the folder itself."""
    tree, link = tmp_path / "tree", tmp_path / "link"
    write(tree / "mine-1.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    write(tree / "data" / "secret", "hunter2")
    link.symlink_to(tree)
    monkeypatch.syspath_prepend(str(link))
    body = READS.replace("{SECRET}", str(link / "data" / "secret"))
    control, host = ChildHost(odd.settings()), ChildHost(odd.settings(data_dir=tree / "data"))
    assert odd.score(control, tmp_path, body).result.metrics["won"] == 1.0
    assert odd.score(host, tmp_path, body).result.metrics["won"] == 0.0
    control.close()
    host.close()


WRITABLE = """
writable = set()
for line in open("/proc/self/mountinfo"):
    fields = line.split(" ")
    if "rw" in fields[5].split(","): writable.add(fields[4])
    assert ".machine" not in line, line
allowed = {"/tmp", "/dev/shm", "/workspace/output/artifacts"}
return good(more=float(len(writable - allowed)), missing=float(len(allowed - writable)))
"""


def test_all_that_a_scorer_sees_is_read_only_but_three_folders_of_its_own(
    host: ChildHost, tmp_path: Path
) -> None:
    assert odd.score(host, tmp_path, WRITABLE).result.metrics == {"more": 0.0, "missing": 0.0}


NOT_FREED = """
folder = workspace / "output" / "artifacts"
kept = []
for number in range(20):
    file = open(folder / "hidden", "wb")
    (folder / "hidden").unlink()
    kept.append(file)
    os.posix_fallocate(file.fileno(), 0, 2**20)
return good()
"""


def test_files_that_were_unlinked_count_too(host: ChildHost, tmp_path: Path) -> None:
    small = ChildHost(odd.settings(scorer_max_output_bytes=8 * 2**20))
    assert odd.score(host, tmp_path, NOT_FREED).result.metrics == {
        "m": 1.0
    }  # the control: its limit is higher
    with pytest.raises(AutoscorerError) as caught:
        odd.score(small, tmp_path, NOT_FREED)
    assert (caught.value.code, caught.value.details["exception"]) == ("SCORE_ERROR", "OSError")
    small.close()


def test_artifacts_are_taken_out_and_links_are_not(host: ChildHost, tmp_path: Path) -> None:
    body = """
    folder = workspace / "output" / "artifacts"
    (folder / "table.csv").write_text("a,b")
    (folder / "link").symlink_to("/etc/hostname")
    (folder / "deep").mkdir()
    os.mkfifo(folder / "pipe")
    return good()
    """
    odd.score(host, tmp_path, body)
    taken = tmp_path / "view" / "output" / "artifacts"
    assert [path.name for path in taken.iterdir()] == ["table.csv"]
    assert (taken / "table.csv").read_text() == "a,b"


FILLS = """
for folder, size in (("/tmp", {TMP}), ("/dev/shm", {SHM})):
    with open(folder + "/fill", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size * 2**20)
kept = b"x" * 150 * 2**20
time.sleep(2)
return good()
"""


def test_without_a_cgroup_files_in_memory_count_as_memory(tmp_path: Path) -> None:
    host = ChildHost(odd.settings())
    host._homes = []
    few, many = (
        FILLS.replace("{TMP}", tmp).replace("{SHM}", shm) for tmp, shm in (("10", "10"), ("120", "60"))
    )
    assert odd.score(host, tmp_path, few).result.metrics == {"m": 1.0}
    with pytest.raises(AutoscorerError) as caught:
        odd.score(host, tmp_path, many)
    assert caught.value.code == "SCORER_MEMORY"
    host.close()


def test_without_a_cgroup_there_is_no_memory_that_nobody_counts(host: ChildHost, tmp_path: Path) -> None:
    body = """
    try: os.close(os.memfd_create("hidden"))
    except OSError: return good(won=0.0)
    return good(won=1.0)
    """
    polled = ChildHost(odd.settings())
    polled._homes = []
    assert odd.score(host, tmp_path, body).result.metrics["won"] == 1.0  # the control: a cgroup counts it
    assert odd.score(polled, tmp_path, body).result.metrics["won"] == 0.0
    polled.close()


UNLINKED = """
folder = workspace / "output" / "artifacts"
kept = []
try:
    for number in range(1000):
        kept.append(open(folder / "hidden", "wb"))
        (folder / "hidden").unlink()
except OSError: pass
return good(kept=float(len(kept)))
"""


def test_few_files_can_be_kept_open_that_no_limit_sees(host: ChildHost, tmp_path: Path) -> None:
    assert 100 < odd.score(host, tmp_path, UNLINKED).result.metrics["kept"] < MAX_OPEN_FILES
