"""What the engine is asked for, as golden files: a change of the baseline must be seen in a diff."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscorer.confine import properties
from autoscorer.executor.base import AttemptPlan
from autoscorer.executor.docker.isolation import isolation_report
from autoscorer.executor.docker.offers import security_opts_for
from autoscorer.executor.docker.options import create_body
from autoscorer.executor.docker.planning import Prepared, container_name, container_plan
from autoscorer.executor.docker.seccomp import security_option
from autoscorer.executor.docker.types import ContainerPlan, EngineFacts, RunnableImage
from tests.executor.attempts import limits

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
ATTEMPT = Path("/srv/job/.attempts/1")


def image(**changes: Any) -> RunnableImage:
    values: dict[str, Any] = {
        "name": "team/model:1",
        "image_id": "sha256:" + "ab" * 32,
        "repo_digest": None,
        "volumes": (),
        "env": {"PATH": "/bin"},
        "user": "root",
    }
    return RunnableImage(**values | changes)


def attempt(**changes: Any) -> AttemptPlan:
    values: dict[str, Any] = {
        "job_id": "job-1",
        "attempt_id": "1",
        "image": "team/model:1",
        "command": ("python", "predict.py"),
        "env": {"SEED": "7"},
        "limits": limits(cpu_cores=1.5),
        "input_dir": Path("/srv/job/input"),
        "spec_path": Path("/srv/job/meta.json"),
        "attempt_dir": ATTEMPT,
        "logs_dir": Path("/srv/job/logs"),
    }
    return AttemptPlan(**values | changes)


def planned(
    of: AttemptPlan | None = None,
    on: RunnableImage | None = None,
    *,
    capped: bool = True,
    security_opts: tuple[str, ...] = (),
    gpu_ids: tuple[str, ...] = (),
) -> ContainerPlan:
    prepared = Prepared(
        name="autoscorer-" + "0" * 32,
        input_dir=(of or attempt()).input_dir,
        out_dir=ATTEMPT / "out" / "nonce",
        spec_copy=ATTEMPT / "meta-nonce.json",
        hosts=ATTEMPT / "hosts-nonce",
        output_is_capped=capped,
    )
    return container_plan(
        of or attempt(),
        on or image(),
        prepared,
        owner="here/1/2",
        user="65534:65534",
        security_opts=security_opts,
        gpu_ids=gpu_ids,
    )


def assert_golden(name: str, body: dict[str, Any]) -> None:
    assert body == json.loads((GOLDEN / name).read_text())


def test_the_baseline_is_the_golden_file() -> None:
    assert_golden("docker_baseline.json", create_body(planned()))


def test_everything_a_job_can_ask_for_is_the_golden_file() -> None:
    of = attempt(
        command=(),
        limits=limits(gpus=2, cpu_cores=0.001, memory_bytes=1000, shm_bytes=2**24),
        network="scoring-net",
    )
    on = image(volumes=("/data", "/data/", "//models//deep", "/tmp", "/workspace/input"), env={"HOME": "/x"})
    opts = ("no-new-privileges:true", "apparmor=docker-default")
    assert_golden(
        "docker_all_options.json",
        create_body(planned(of, on, capped=False, security_opts=opts, gpu_ids=("1", "3")), init=False),
    )


def test_the_image_is_run_by_its_id_so_that_no_tag_can_move_under_us() -> None:
    assert create_body(planned())["Image"] == "sha256:" + "ab" * 32


def test_an_empty_command_leaves_the_images_own() -> None:
    assert create_body(planned(attempt(command=())))["Cmd"] is None


def test_a_variable_of_the_job_goes_before_one_of_ours_and_the_images_before_ours() -> None:
    asked = create_body(planned(attempt(env={"LANG": "de_DE"}), image(env={"HOME": "/root"})))["Env"]
    assert asked == ["LANG=de_DE", "NVIDIA_VISIBLE_DEVICES=void"]


def test_no_new_privileges_cannot_be_taken_back_by_an_option() -> None:
    body = create_body(planned(security_opts=("no-new-privileges:false", "no-new-privileges=false")))
    assert body["HostConfig"]["SecurityOpt"] == ["no-new-privileges"]


@given(
    volumes=st.lists(st.sampled_from(["/data", "/tmp", "/workspace", "/workspace/output", "/a/../b"])),
    env=st.dictionaries(st.sampled_from(["HOME", "PATH", "X"]), st.text(max_size=5)),
    network=st.sampled_from(["none", "net"]),
)
def test_nothing_an_image_or_job_says_widens_the_baseline(
    volumes: list[str], env: dict[str, str], network: str
) -> None:
    body = create_body(planned(attempt(env=env, network=network), image(volumes=tuple(volumes), env=env)))
    host = body["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["ReadonlyRootfs"]
    assert not host["Privileged"]
    assert host["NetworkMode"] == network
    assert host["MemorySwap"] == host["Memory"]
    assert {mount["Target"] for mount in host["Mounts"] if not mount["ReadOnly"]} == {"/workspace/output"}
    assert not {mount["Target"] for mount in host["Mounts"]} & host["Tmpfs"].keys()
    assert all("size=" in options and "nosuid" in options for options in host["Tmpfs"].values())
    assert host["Tmpfs"]["/workspace"].startswith("ro,")


def test_every_declared_volume_is_shadowed_but_where_we_mount_ourselves() -> None:
    tmpfs = create_body(planned(on=image(volumes=("/data/", "/workspace/input", "/tmp"))))["HostConfig"][
        "Tmpfs"
    ]
    assert set(tmpfs) == {"/tmp", "/workspace", "/data"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"job_id": "job-1"}, {"job_id": "job-10"}),
        ({"job_id": "a" * 127 + "1"}, {"job_id": "a" * 127 + "2"}),
        ({"job_id": "job", "attempt_id": "11"}, {"job_id": "job1", "attempt_id": "1"}),
        ({"attempt_dir": Path("/a/.attempts/1")}, {"attempt_dir": Path("/b/.attempts/1")}),
    ],
)
def test_attempts_whose_ids_share_a_prefix_have_names_of_their_own(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    names = {container_name(replace(attempt(), **changes), "nonce") for changes in (one, other)}
    assert len(names) == 2


def facts(**changes: Any) -> EngineFacts:
    values: dict[str, Any] = {
        "version": "20.10.24+dfsg1",
        "api_version": "1.41",
        "architecture": "amd64",
        "cgroup_version": "1",
        "storage_driver": "overlay2",
        "data_root": Path("/var/lib/docker"),
        "security_options": ("name=seccomp,profile=default",),
        "runtimes": {},
        "gpus": 0,
        "local": True,
    }
    return EngineFacts(**values | changes)


def test_the_default_profile_is_not_asked_by_name_of_an_engine_that_takes_it_for_a_file() -> None:
    asked = ("seccomp=builtin", "apparmor=docker-default")
    assert security_opts_for(asked, facts()) == ("apparmor=docker-default",)
    assert security_opts_for(asked, facts(version="27.3.1")) == asked


def test_our_filter_is_added_unless_the_operator_says_another() -> None:
    assert security_opts_for(["apparmor=x"], facts()) == ("apparmor=x", security_option())
    for other in ("seccomp=unconfined", "seccomp:unconfined", 'seccomp={"defaultAction":"SCMP_ACT_ALLOW"}'):
        assert security_opts_for([other], facts()) == (other,)


@pytest.mark.parametrize("lack", [{"architecture": "s390x"}, {"security_options": ("name=apparmor",)}])
def test_no_filter_is_asked_of_an_engine_that_cannot_have_ours(lack: dict[str, Any]) -> None:
    assert security_opts_for((), facts(**lack)) == ()


@pytest.mark.parametrize(
    ("options", "engines", "filtered"),
    [
        ((), ("name=seccomp,profile=default",), True),
        ((), ("name=seccomp,profile=unconfined",), False),
        ((), ("name=apparmor",), False),
        ((security_option(),), ("name=seccomp,profile=unconfined",), True),
        (("seccomp=builtin",), ("name=seccomp,profile=builtin",), True),
        (("seccomp=unconfined",), ("name=seccomp,profile=default",), False),
        (("seccomp:unconfined",), ("name=seccomp,profile=default",), False),
    ],
)
def test_the_report_says_whether_calls_are_filtered(
    options: tuple[str, ...], engines: tuple[str, ...], filtered: bool
) -> None:
    report = isolation_report(
        facts(security_options=engines),
        network="none",
        security_opts=options,
        host_user_differs=True,
        init=True,
        output_is_capped=True,
        warnings=(),
    )
    assert (properties.SECCOMP in report.enforced) is filtered
    assert (properties.SECCOMP in report.not_enforced) is not filtered


def test_without_gpus_no_variable_gives_any() -> None:
    asked = {"NVIDIA_VISIBLE_DEVICES": "all"}
    assert "NVIDIA_VISIBLE_DEVICES=void" in create_body(planned(attempt(env=asked), image(env=asked)))["Env"]
    with_gpu = attempt(env=asked, limits=limits(gpus=1))
    assert "NVIDIA_VISIBLE_DEVICES=all" in create_body(planned(with_gpu))["Env"]
