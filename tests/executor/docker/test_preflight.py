from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoscorer.executor.docker.preflight import (
    DISK_RESERVE_BYTES,
    check_disk,
    check_gpu_env,
    check_platform,
    image_env,
    runnable_image,
)
from autoscorer.executor.docker.types import EngineFacts, RunnableImage
from autoscorer.executor.image_names import ImageName
from autoscorer.utils.errors import AutoscorerError, Blame

DIGEST = "sha256:" + "ab" * 32


def facts(architecture: str = "amd64") -> EngineFacts:
    return EngineFacts(
        version="29.0",
        api_version="1.50",
        architecture=architecture,
        cgroup_version="2",
        storage_driver="overlay2",
        data_root=Path("/var/lib/docker"),
        security_options=(),
        runtimes={},
        gpus=0,
        local=True,
    )


def inspected(**config: Any) -> dict[str, Any]:
    return {
        "Id": "sha256:1",
        "Os": "linux",
        "Architecture": "amd64",
        "RepoTags": ["a:latest"],
        "Config": {"Cmd": ["x"], "User": "1000", **config},
    }


def judge(image: dict[str, Any], *, command: tuple[str, ...] = (), gpus: int = 0) -> RunnableImage:
    return runnable_image(image, facts(), name=ImageName.parse("a"), command=command, gpus=gpus)


def test_a_plain_image_may_run_without_a_warning() -> None:
    image = judge(inspected(Env=["PATH=/bin", "EMPTY=", "BARE", "A=b=c"]))
    assert image == RunnableImage(
        name="a:latest",
        image_id="sha256:1",
        repo_digest=None,
        volumes=(),
        env={"PATH": "/bin", "EMPTY": "", "BARE": "", "A": "b=c"},
        user="1000",
    )


@pytest.mark.parametrize("entry", ["=x", "", "A=b\0c", "A\0B=c"])
def test_a_variable_that_no_program_can_be_started_with_is_the_images_fault(entry: str) -> None:
    with pytest.raises(AutoscorerError) as caught:
        judge(inspected(Env=["PATH=/bin", entry]))
    assert (caught.value.code, caught.value.blame) == ("IMAGE_INVALID", Blame.PARTICIPANT)
    assert "\0" not in str(caught.value.details)


@pytest.mark.parametrize(
    ("system", "architecture", "here", "runs"),
    [
        ("linux", "amd64", "amd64", True),
        ("linux", "arm64", "arm64", True),
        ("linux", "arm64", "amd64", False),
        ("linux", "386", "amd64", False),
        ("windows", "amd64", "amd64", False),
        ("", "", "amd64", False),
    ],
)
def test_only_an_image_of_this_platform_runs(system: str, architecture: str, here: str, runs: bool) -> None:
    if runs:
        check_platform(system, architecture, facts(here))
        return
    with pytest.raises(AutoscorerError) as caught:
        check_platform(system, architecture, facts(here))
    assert (caught.value.code, caught.value.blame) == ("IMAGE_INVALID", Blame.PARTICIPANT)
    assert caught.value.details["expected"] == f"linux/{here}"


@pytest.mark.parametrize(
    ("config", "command", "runs"),
    [
        ({"Cmd": ["x"]}, (), True),
        ({"Cmd": None, "Entrypoint": ["x"]}, (), True),
        ({"Cmd": None}, ("x",), True),
        ({"Cmd": None}, (), False),
        ({"Cmd": [], "Entrypoint": []}, (), False),
    ],
)
def test_there_must_be_something_to_run(config: dict[str, Any], command: tuple[str, ...], runs: bool) -> None:
    if runs:
        judge(inspected(**config), command=command)
        return
    with pytest.raises(AutoscorerError, match="nothing to run") as caught:
        judge(inspected(**config), command=command)
    assert caught.value.code == "IMAGE_INVALID"


def test_an_image_without_any_configuration_is_judged_too() -> None:
    with pytest.raises(AutoscorerError, match="nothing to run"):
        judge({**inspected(), "Config": None})


@pytest.mark.parametrize(
    ("entry", "allowed"),
    [
        ("PATH=/bin", True),
        ("LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64", True),
        ("LD_LIBRARY_PATH=/opt/conda/lib", True),
        ("LD_LIBRARY_PATH=/usr/lib/", True),
        ("LD_LIBRARY_PATH=", False),  # an empty part is the working directory, which is the image's
        ("LD_LIBRARY_PATH=/usr/lib:", False),
        ("LD_LIBRARY_PATH=lib", False),
        ("LD_LIBRARY_PATH=/proc/self/cwd", False),
        ("LD_LIBRARY_PATH=/usr/../proc/self/cwd", False),
        ("LD_LIBRARY_PATH=/usr/$ORIGIN", False),
        ("LD_LIBRARY_PATH=/usr/lib;/tmp", False),
        ("LD_LIBRARY_PATH=/usr/lib\n", False),
        ("LD_LIBRARY_PATH=/usrlocal", False),
        ("LD_PRELOAD=/usr/lib/libjemalloc.so", False),
        ("LD_PRELOAD=", False),
        ("LD_AUDIT=/x", False),
        ("LD_BIND_NOW=1", False),
    ],
)
def test_the_loaders_variables_are_refused_for_gpu_jobs_only(entry: str, allowed: bool) -> None:
    image = inspected(Env=[entry])
    judge(image, gpus=0)
    if allowed:
        judge(image, gpus=1)
        return
    with pytest.raises(AutoscorerError) as caught:
        judge(image, gpus=1)
    assert (caught.value.code, caught.value.details["offenders"]) == (
        "IMAGE_INVALID",
        [entry.partition("=")[0]],
    )


def test_every_loader_variable_is_named() -> None:
    with pytest.raises(AutoscorerError) as caught:
        check_gpu_env({"LD_PRELOAD": "a", "LD_AUDIT": "b", "HOME": "/"})
    assert caught.value.details["offenders"] == ["LD_AUDIT", "LD_PRELOAD"]


@pytest.mark.parametrize(
    ("declared", "volumes"),
    [
        (None, ()),
        (["/b", "/a"], ("/a", "/b")),
        (["/a/", "/a", "/a/./x"], ("/a", "/a/x")),
        (["/workspace", "/tmp"], ("/tmp", "/workspace")),
        (["/process"], ("/process",)),
        (["relative"], None),
        (["/"], None),
        (["/proc"], None),
        (["/proc/sys"], None),
        (["/x/../sys"], None),
        (["/dev/shm"], None),
        ([f"/v{number}" for number in range(65)], None),
    ],
)
def test_declared_volumes_are_listed_or_refused(
    declared: list[str] | None, volumes: tuple[str, ...] | None
) -> None:
    image = inspected(Volumes=None if declared is None else {path: {} for path in declared})
    if volumes is not None:
        assert judge(image).volumes == volumes
        return
    with pytest.raises(AutoscorerError, match="volumes"):
        judge(image)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"User": ""}, "root"),
        ({"User": "root"}, "root"),
        ({"User": "0:100"}, "root"),
        ({"Volumes": {"/data": {}}}, "/data"),
        ({"Healthcheck": {"Test": ["CMD", "x"]}}, "health check"),
    ],
)
def test_what_an_image_does_not_get_is_a_warning(config: dict[str, Any], word: str) -> None:
    (warning,) = judge(inspected(**config)).warnings
    assert word in warning


@pytest.mark.parametrize(
    ("digests", "found"),
    [
        ([f"a@{DIGEST}"], DIGEST),
        ([f"reg.example/a@{DIGEST}"], None),
        ([f"other@{DIGEST}", f"a@{DIGEST}"], DIGEST),
        (None, None),
    ],
)
def test_the_digest_is_the_one_of_this_name(digests: list[str] | None, found: str | None) -> None:
    assert judge({**inspected(), "RepoDigests": digests}).repo_digest == found


@pytest.mark.parametrize(
    ("needed", "free", "fits"),
    [
        (0, DISK_RESERVE_BYTES, True),
        (0, DISK_RESERVE_BYTES - 1, False),
        (10, DISK_RESERVE_BYTES + 10, True),
        (11, DISK_RESERVE_BYTES + 10, False),
        (2**60, None, True),  # an engine elsewhere: not known
    ],
)
def test_an_image_must_fit_on_the_disk_with_a_reserve(needed: int, free: int | None, fits: bool) -> None:
    if fits:
        check_disk(needed, free)
        return
    with pytest.raises(AutoscorerError) as caught:
        check_disk(needed, free)
    assert (caught.value.code, caught.value.blame) == ("RESOURCE_UNAVAILABLE", Blame.OPERATOR)


def test_an_image_without_environment_has_none() -> None:
    assert image_env({}) == image_env({"Env": None}) == {}
