"""Images made to break the set-up of their container: the participant's fault, and nothing hangs."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoscorer.executor.docker import preflight
from autoscorer.executor.nodes.pool import is_nodes_fault
from autoscorer.utils.errors import AutoscorerError
from tests.executor.docker.containers import container_plan, docker, run_container
from tests.imaging import KEPT_BUSYBOX

pytestmark = [pytest.mark.docker, pytest.mark.slow]

MakeImage = Callable[..., str]


def entry(name: str, kind: bytes, *, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o755
    return info


@pytest.fixture
def make_image() -> Iterator[MakeImage]:
    """An image of busybox and what else is asked for; removed with the test."""
    made: list[str] = []

    def make(*entries: tarfile.TarInfo, changes: tuple[str, ...] = ()) -> str:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            for info in entries:
                tar.addfile(info)
            tar.add(KEPT_BUSYBOX, "bin/busybox")
            for applet in ("sh", "id", "cat", "ls"):
                tar.addfile(entry(f"bin/{applet}", tarfile.SYMTYPE, link="busybox"))
        name = f"autoscorer-test/hostile:{uuid.uuid4().hex}"  # tests beside this one have theirs
        options = [option for change in ("ENV PATH=/bin", *changes) for option in ("--change", change)]
        command = ["docker", "import", *options, "-", name]
        subprocess.run(command, input=content.getvalue(), capture_output=True, check=True)
        made.append(name)
        return name

    yield make
    for name in made:
        docker("rmi", "-f", name, check=False)


@pytest.mark.parametrize("path", ["etc/passwd", "etc/group"])
def test_a_pipe_for_a_user_database_does_not_hang_the_engine(
    tmp_path: Path, make_image: MakeImage, path: str
) -> None:
    image = make_image(entry(path, tarfile.FIFOTYPE))
    with pytest.raises(AutoscorerError) as caught:
        run_container(container_plan(tmp_path, "true", image=image))
    assert (caught.value.code, caught.value.blame) == ("IMAGE_INVALID", "participant")


def test_nor_does_one_behind_links(tmp_path: Path, make_image: MakeImage) -> None:
    image = make_image(
        entry("etc/passwd", tarfile.SYMTYPE, link="../one"),
        entry("one", tarfile.SYMTYPE, link="/two"),
        entry("two", tarfile.FIFOTYPE),
    )
    with pytest.raises(AutoscorerError) as caught:
        run_container(container_plan(tmp_path, "true", image=image))
    assert caught.value.code == "IMAGE_INVALID"


@pytest.mark.parametrize(
    "planted",
    [
        entry("workspace", tarfile.REGTYPE),
        entry("workspace", tarfile.SYMTYPE, link="/proc"),
        entry("workspace", tarfile.SYMTYPE, link="workspace"),
        entry("tmp", tarfile.SYMTYPE, link="/proc/self"),
        entry("tmp", tarfile.SYMTYPE, link="../dev/shm"),
        entry("proc", tarfile.SYMTYPE, link="/etc"),
        entry("etc", tarfile.SYMTYPE, link="/proc/self"),
        entry("etc/hosts", tarfile.SYMTYPE, link="/proc/1/root"),
        entry("etc/resolv.conf", tarfile.DIRTYPE),
    ],
    ids=lambda info: f"{info.name}->{info.linkname}",
)
def test_what_stands_where_we_mount_is_the_participants_fault(
    tmp_path: Path, make_image: MakeImage, planted: tarfile.TarInfo
) -> None:
    try:
        error = run_container(container_plan(tmp_path, "exit 3", image=make_image(planted))).error
    except AutoscorerError as exc:
        error = exc
    assert error is not None
    assert error.code in ("IMAGE_INVALID", "CONTAINER_EXIT_NONZERO")
    assert error.blame == "participant"


@pytest.mark.parametrize(
    "name", ["workspace/input", "workspace/meta.json", "sbin/docker-init", "dev", "proc"]
)
def test_what_we_mount_over_is_not_in_the_way(tmp_path: Path, make_image: MakeImage, name: str) -> None:
    image = make_image(entry(name, tarfile.REGTYPE))
    ran = run_container(container_plan(tmp_path, "cat input/data.csv meta.json", image=image))
    assert ran.code is None
    assert ran.log == b"id\n1\n{}"


def test_control_a_plain_image_of_the_same_making_runs(tmp_path: Path, make_image: MakeImage) -> None:
    image = make_image(changes=("USER root", "HEALTHCHECK CMD false", "WORKDIR /etc"))
    ran = run_container(container_plan(tmp_path, "id -u; pwd", image=image))
    assert ran.log == b"65534\n/workspace\n"


def test_a_volume_that_leads_into_the_kernels_files_is_refused(tmp_path: Path, make_image: MakeImage) -> None:
    image = make_image(entry("data", tarfile.SYMTYPE, link="/proc/self"), changes=("VOLUME /data/fd",))
    with pytest.raises(AutoscorerError) as caught:
        run_container(container_plan(tmp_path, "true", image=image))
    assert (caught.value.code, caught.value.blame) == ("IMAGE_INVALID", "participant")


def test_a_missing_entry_point_is_command_not_found(tmp_path: Path, make_image: MakeImage) -> None:
    image = make_image(changes=('ENTRYPOINT ["/no/such"]',))
    ran = run_container(container_plan(tmp_path, "", image=image))
    assert ran.code == "CONTAINER_EXIT_NONZERO"
    assert ran.outcome.exit_code == 127


def test_a_declared_volume_is_memory_of_a_size_and_leaves_no_volume(
    tmp_path: Path, make_image: MakeImage
) -> None:
    image = make_image(changes=("VOLUME /data",))
    script = "cat /proc/mounts; (while cat /bin/busybox 2>/dev/null; do :; done) > /data/fill; ls -l /data"
    ran = run_container(container_plan(tmp_path, script, image=image))
    assert b"tmpfs /data tmpfs rw,nosuid,nodev,relatime,size=65536k" in ran.log
    assert b" 67108864 " in ran.log.splitlines()[-1]
    assert {mount["Type"] for mount in ran.outcome.details["inspect"]["Mounts"]} == {"bind"}


def image_with_env(base: str, entry: str) -> str:
    """The id of an image, as it was but with that environment; no builder would write it."""
    saved = subprocess.run(["docker", "save", base], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
        files = {row.name: tar.extractfile(row).read() for row in tar if row.isfile()}  # type: ignore[union-attr]
    manifest = json.loads(files["manifest.json"])[0]
    config = json.loads(files[manifest["Config"]])
    config["config"]["Env"] = ["PATH=/bin", entry]
    content = io.BytesIO()
    name = f"autoscorer-test/hostile:{uuid.uuid4().hex}"
    index = [{"Config": "config.json", "RepoTags": [name], "Layers": manifest["Layers"]}]
    with tarfile.open(fileobj=content, mode="w") as tar:
        rows = {
            "config.json": json.dumps(config).encode(),
            "manifest.json": json.dumps(index).encode(),
            **{path: files[path] for path in manifest["Layers"]},
        }
        for path, what in rows.items():
            info = tarfile.TarInfo(path)
            info.size = len(what)
            tar.addfile(info, io.BytesIO(what))
    subprocess.run(["docker", "load"], input=content.getvalue(), capture_output=True, check=True)
    return name


@pytest.mark.parametrize("entry", ["=x", "A=b\0c"])
def test_an_environment_that_no_program_can_have_is_the_images_fault_and_no_nodes(
    tmp_path: Path, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    name = image_with_env(make_image(), entry)
    try:
        with pytest.raises(AutoscorerError) as caught:
            run_container(container_plan(tmp_path / "guarded", "true", image=name))
        assert (caught.value.code, caught.value.blame) == ("IMAGE_INVALID", "participant")
        # The control: without the look before, the engine refuses the start, and says too little of why.
        monkeypatch.setattr(preflight, "_check_env", lambda _config: None)
        with pytest.raises(AutoscorerError) as caught:
            run_container(container_plan(tmp_path / "control", "true", image=name))
        assert not is_nodes_fault(caught.value)
    finally:
        docker("rmi", "-f", name, check=False)
