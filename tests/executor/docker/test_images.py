from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from autoscorer.executor.base import StopReason
from autoscorer.executor.docker.client import Engine, connect
from autoscorer.executor.docker.image_pull import credentials, pull
from autoscorer.executor.docker.images import ensure_image, find_local
from autoscorer.executor.docker.types import RunnableImage
from autoscorer.executor.image_names import ImageName
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError, Blame
from autoscorer.utils.retry import BackOff
from tests.executor.docker.archives import (
    config_of,
    digest_of,
    docker_members,
    oci_members,
    put_archive,
    tar_of,
)
from tests.executor.docker.engines import plan_for, settings_with
from tests.executor.docker.registries import PASSWORD, USER, free_port, front, registry, silent_registry
from tests.imaging import layer

pytestmark = [pytest.mark.docker, pytest.mark.slow]

QUICK = BackOff(tries=4, first_wait_s=0.02, longest_wait_s=0.05, budget_s=20)
DENIED = json.dumps({"errors": [{"code": "DENIED", "message": "requested access is denied"}]}).encode()


@dataclass
class Bench:
    """A real engine, what happened, and the images to take away afterwards."""

    engine: Engine
    folder: Path
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    ours: set[str] = field(default_factory=set)

    def fresh(self, prefix: str = "autoscorer-test/d1") -> str:
        return f"{prefix}-{uuid.uuid4().hex[:12]}:1"

    def fresh_layer(self) -> bytes:
        return layer({"data/unique.txt": uuid.uuid4().bytes * 100})

    def ensure(self, image: str, settings: Settings | None = None, **plan: Any) -> RunnableImage:
        self.ours.add(image)
        made = ensure_image(
            self.engine,
            plan_for(image, self.folder, **plan),
            settings or settings_with(IMAGE_PULL_POLICY="never"),
            self.folder,
            lambda name, facts: self.events.append((name, facts)),
            back_off=QUICK,
        )
        self.ours.add(made.image_id)
        return made

    def fails(self, image: str, settings: Settings | None = None, **plan: Any) -> AutoscorerError:
        with pytest.raises(AutoscorerError) as caught:
            self.ensure(image, settings, **plan)
        assert str(self.folder) not in json.dumps(caught.value.to_dict())
        return caught.value

    def load(self, image: str, layers: tuple[bytes, ...] | None = None, **changes: Any) -> str:
        """Load an image by `docker load` itself, under the tag ``image``; its id."""
        members = docker_members(layers or (self.fresh_layer(),), tags=[image], **changes)
        return self.load_tar(tar_of(members), image)

    def load_tar(self, content: bytes, image: str) -> str:
        lines = list(self.engine.api.load_image(content))
        assert not any("error" in line for line in lines), lines
        self.ours.add(image)
        found: str = self.engine.api.inspect_image(image)["Id"]
        self.ours.add(found)
        return found

    def push(self, image: str, host: str, tag: str = "1", auth: dict[str, str] | None = None) -> str:
        """Push a fresh image to ``host`` and forget it here; the name to pull it by."""
        target = f"{host}/{image.split(':', maxsplit=1)[0]}"
        self.engine.api.tag(image, target, tag)
        for line in self.engine.api.push(target, tag, stream=True, decode=True, auth_config=auth or {}):
            assert "error" not in line, line
        self.engine.api.remove_image(f"{target}:{tag}", force=True)
        self.ours.add(f"{target}:{tag}")
        return f"{target}:{tag}"

    def forget(self, image: str) -> None:
        import docker.errors

        with suppress(docker.errors.APIError):
            self.engine.api.remove_image(image, force=True)

    def exists(self, image: str) -> bool:
        import docker.errors

        try:
            self.engine.api.inspect_image(image)
        except docker.errors.ImageNotFound:
            return False
        return True

    def happened(self) -> list[str]:
        return [name for name, _ in self.events]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    with connect(settings_with()) as engine:
        made = Bench(engine, workspace)
        yield made
        for image in sorted(made.ours, key=lambda name: name.startswith("sha256:")):
            made.forget(image)


ALWAYS = {"IMAGE_PULL_POLICY": "always"}
IF_NOT_PRESENT = {"IMAGE_PULL_POLICY": "ifnotpresent"}


def auth_for(host: str, password: str = PASSWORD) -> dict[str, str]:
    return {"REGISTRY_AUTH": json.dumps({host: {"username": USER, "password": password}})}


# Local first


@pytest.mark.parametrize("policy", ["ifnotpresent", "never"])
def test_an_image_that_is_here_is_used_as_it_is(policy: str, bench: Bench) -> None:
    name = bench.fresh()
    image_id = bench.load(name)
    image = bench.ensure(name, settings_with(IMAGE_PULL_POLICY=policy))
    assert (image.image_id, image.name, image.pull_seconds, image.repo_digest) == (image_id, name, None, None)
    assert bench.events == [("image_ready", {"image": name, "image_id": image_id, "source": "engine"})]


def test_names_are_normalised(bench: Bench) -> None:
    name = f"autoscorer-test/d1-{uuid.uuid4().hex[:12]}"
    image_id = bench.load(f"{name}:latest")
    for spelled in (name, f"{name}:latest", f"docker.io/{name}", f"index.docker.io/{name}:latest"):
        assert bench.ensure(spelled).image_id == image_id


def test_a_tag_is_matched_exactly(bench: Bench) -> None:
    name = bench.fresh()
    bench.load(name)
    error = bench.fails(name + "0")
    assert (error.code, error.blame) == ("IMAGE_NOT_PRESENT", Blame.PARTICIPANT)
    assert error.details["setting"] == "IMAGE_PULL_POLICY"


def test_an_image_is_not_found_by_its_id(bench: Bench) -> None:
    image_id = bench.load(bench.fresh())
    short = image_id.removeprefix("sha256:")[:12]
    assert bench.fails(short).code == "IMAGE_NOT_PRESENT"
    for spelled in (image_id, f"sha256:{short}", image_id.removeprefix("sha256:")):
        assert bench.fails(spelled).code == "CONFIG_VALIDATION_ERROR"
    assert bench.engine.api.inspect_image(short)["Id"] == image_id  # the control: the engine finds it


@pytest.mark.parametrize("text", ["x/Upper", "a b", "http://x/y", "x:", "../x", "x@sha256:12", "-x"])
def test_what_is_no_name_is_refused(text: str, bench: Bench) -> None:
    error = bench.fails(text)
    assert (error.code, error.cause) == ("CONFIG_VALIDATION_ERROR", "job_spec")
    assert error.details["field"] == "container.image"


def test_an_image_missing_under_never_is_not_pulled(bench: Bench) -> None:
    with silent_registry() as host:
        error = bench.fails(f"{host}/autoscorer-test/x:1")
    assert error.code == "IMAGE_NOT_PRESENT"
    assert "image_pull_started" not in bench.happened()


# The archive


@pytest.mark.parametrize("policy", ["always", "ifnotpresent", "never"])
@pytest.mark.parametrize("filename", ["image.tar", "image.tar.gz"])
def test_an_archive_is_used_under_every_policy(policy: str, filename: str, bench: Bench) -> None:
    fresh = (bench.fresh_layer(),)
    put_archive(bench.folder, tar_of(docker_members(fresh)), filename)
    name = bench.fresh()
    image = bench.ensure(name, settings_with(IMAGE_PULL_POLICY=policy))
    assert image.image_id == digest_of(config_of(fresh))
    assert image.name == name
    assert bench.happened() == ["image_load_started", "image_ready"]
    assert bench.engine.api.inspect_image(image.image_id)["RepoTags"] == []


@pytest.mark.parametrize("packed", [False, True])
def test_an_oci_archive_is_used_too(packed: bool, bench: Bench) -> None:
    fresh = (bench.fresh_layer(), bench.fresh_layer())
    put_archive(bench.folder, tar_of(oci_members(fresh, packed=packed, nested=True)))
    image = bench.ensure(bench.fresh())
    assert image.image_id == digest_of(config_of(fresh))


def test_an_archive_is_loaded_once(bench: Bench) -> None:
    put_archive(bench.folder, tar_of(docker_members((bench.fresh_layer(),))))
    first, again = bench.ensure(bench.fresh()), bench.ensure(bench.fresh())
    assert first.image_id == again.image_id
    assert bench.happened().count("image_load_started") == 1


def test_an_image_that_is_here_goes_before_the_archive_but_not_under_always(bench: Bench) -> None:
    name, fresh = bench.fresh(), (bench.fresh_layer(),)
    here = bench.load(name)
    put_archive(bench.folder, tar_of(docker_members(fresh)))
    assert bench.ensure(name).image_id == here
    assert bench.ensure(name, settings_with(**ALWAYS)).image_id == digest_of(config_of(fresh))


def test_a_tag_inside_an_archive_replaces_nothing(bench: Bench) -> None:
    victim, fresh = bench.fresh(), bench.fresh_layer()
    before = bench.load(victim)
    hostile = tar_of(docker_members((fresh,), tags=[victim]))
    put_archive(bench.folder, hostile)
    image = bench.ensure(victim, settings_with(**ALWAYS))
    assert image.image_id != before
    assert bench.engine.api.inspect_image(victim)["Id"] == before
    assert bench.load_tar(hostile, victim) == image.image_id  # the control: `docker load` does replace it


def test_a_legacy_tag_file_replaces_nothing(bench: Bench) -> None:
    victim = bench.fresh()
    before = bench.load(victim)
    members = docker_members((bench.fresh_layer(),))
    members["repositories"] = json.dumps({victim.split(":")[0]: {"1": "a" * 64}}).encode()
    put_archive(bench.folder, tar_of(members))
    bench.ensure(bench.fresh())
    assert bench.engine.api.inspect_image(victim)["Id"] == before


def test_an_archive_cannot_have_a_layer_that_it_only_names(bench: Bench) -> None:
    secret = (bench.fresh_layer(),)
    bench.load(bench.fresh(), secret)
    thief = bench.fresh()
    config = config_of(secret, created="2020-01-01T00:00:00Z")
    hostile = tar_of(docker_members((b"nothing",), document=config, tags=[thief]))
    put_archive(bench.folder, hostile)
    error = bench.fails(thief)
    assert error.code == "IMAGE_INVALID"
    assert not bench.exists(digest_of(config))
    # The control: `docker load` gives the thief the layer that is here.
    stolen = bench.engine.api.inspect_image(bench.load_tar(hostile, thief))
    assert stolen["RootFS"]["Layers"] == [digest_of(secret[0])]


def test_a_config_that_engines_read_otherwise_is_refused(bench: Bench) -> None:
    """Go takes ``RootFS`` for ``rootfs`` and the last one counts: two readers, two images."""
    secret, own = bench.fresh_layer(), bench.fresh_layer()
    bench.load(bench.fresh(), (secret,))
    hidden = {"type": "layers", "diff_ids": [digest_of(secret)]}
    config = config_of((own,), RootFS=hidden)
    put_archive(bench.folder, tar_of(docker_members((own,), document=config)))
    assert bench.fails(bench.fresh()).code == "IMAGE_INVALID"
    assert not bench.exists(digest_of(config))


def test_an_archive_of_another_image_is_refused(bench: Bench) -> None:
    put_archive(bench.folder, tar_of(docker_members(tags=["other/image:2"])))
    error = bench.fails(bench.fresh())
    assert error.code == "IMAGE_INVALID"
    assert error.details["offenders"] == ["other/image:2"]


def test_an_archive_with_the_right_tag_among_others_is_used(bench: Bench) -> None:
    name, fresh = bench.fresh(), (bench.fresh_layer(),)
    put_archive(bench.folder, tar_of(docker_members(fresh, tags=["other/image:2", f"docker.io/{name}"])))
    assert bench.ensure(name).image_id == digest_of(config_of(fresh))
    assert not bench.exists("other/image:2")


def test_an_archive_for_another_processor_is_refused_before_it_is_loaded(bench: Bench) -> None:
    fresh = (bench.fresh_layer(),)
    put_archive(bench.folder, tar_of(docker_members(fresh, architecture="s390x")))
    error = bench.fails(bench.fresh())
    assert (error.code, error.blame) == ("IMAGE_INVALID", Blame.PARTICIPANT)
    assert error.details["given"] == "linux/s390x"
    assert not bench.exists(digest_of(config_of(fresh, architecture="s390x")))


@pytest.mark.parametrize("content", [b"no layer at all" * 100, bytes(10_240)[:600] + b"x" * 600])
def test_a_layer_that_engines_cannot_unpack_is_the_participants_fault(content: bytes, bench: Bench) -> None:
    put_archive(bench.folder, tar_of(docker_members((content + uuid.uuid4().bytes,))))
    error = bench.fails(bench.fresh())
    assert (error.code, error.blame) == ("IMAGE_INVALID", Blame.PARTICIPANT)


@pytest.mark.parametrize("cut", [0, 3000])
def test_an_archive_that_changes_while_it_is_loaded_is_refused(cut: int, bench: Bench) -> None:
    fresh = bench.fresh_layer()
    original = tar_of(docker_members((fresh,)))
    put_archive(bench.folder, original)
    settings = settings_with(IMAGE_PULL_POLICY="never")

    def tamper(name: str, _facts: Mapping[str, Any]) -> None:
        if name == "image_load_started":
            changed = original.replace(b"data/unique.txt", b"data/hostile.so")
            (bench.folder / "image.tar").write_bytes(changed[:cut] if cut else changed)

    name = bench.fresh()
    with pytest.raises(AutoscorerError) as caught:
        ensure_image(bench.engine, plan_for(name, bench.folder), settings, bench.folder, tamper)
    assert caught.value.code == "IMAGE_INVALID"
    assert not bench.exists(digest_of(config_of((fresh,))))


# The operator's list


def test_an_image_that_is_not_listed_is_refused_before_anybody_is_asked(bench: Bench) -> None:
    name = bench.fresh()
    bench.load(name)
    listed = {"IMAGE_ALLOWLIST": '["autoscorer-test/other*", "python"]'}
    assert bench.fails(name, settings_with(**listed)).code == "LIMIT_EXCEEDED"
    with front("127.0.0.1:1", status=500, failures=99) as unwell:
        error = bench.fails(f"{unwell.host}/autoscorer-test/x:1", settings_with(**listed))
        assert error.code == "LIMIT_EXCEEDED"
        assert unwell.asked == []
    assert error.details["field"] == "container.image"
    assert (bench.ensure(name, settings_with(IMAGE_ALLOWLIST='["autoscorer-test/d1-*:1"]'))).name == name


def test_an_archive_is_listed_by_its_content_not_by_its_name(bench: Bench) -> None:
    name, fresh = bench.fresh(), (bench.fresh_layer(),)
    image_id = digest_of(config_of(fresh))
    put_archive(bench.folder, tar_of(docker_members(fresh, tags=[name])))
    named = settings_with(IMAGE_ALLOWLIST=json.dumps([name]), IMAGE_PULL_POLICY="never")
    assert bench.fails(name, named).code == "LIMIT_EXCEEDED"
    assert not bench.exists(image_id)
    for entry in (image_id, "sha256:*"):
        both = settings_with(IMAGE_ALLOWLIST=json.dumps([name, entry]), IMAGE_PULL_POLICY="never")
        assert bench.ensure(name, both).image_id == image_id
    content_only = settings_with(IMAGE_ALLOWLIST=json.dumps([image_id]), IMAGE_PULL_POLICY="never")
    assert bench.fails(name, content_only).code == "LIMIT_EXCEEDED"


# The registry


def test_an_image_is_pulled_and_its_digest_kept(bench: Bench, tmp_path: Path) -> None:
    source = bench.fresh()
    image_id = bench.load(source)
    with registry(tmp_path) as host:
        name = bench.push(source, host)
        bench.forget(source)
        image = bench.ensure(name, settings_with())
        assert image.image_id == image_id
        assert image.pull_seconds is not None
        assert image.repo_digest is not None
        assert bench.happened() == ["image_pull_started", "image_pulled", "image_ready"]
        by_digest = f"{name.rpartition(':')[0]}@{image.repo_digest}"
        bench.forget(name)
        assert bench.ensure(by_digest, settings_with()).image_id == image_id
        assert bench.ensure(by_digest).repo_digest == image.repo_digest
        assert bench.fails(f"{by_digest[:-4]}0000").code == "IMAGE_NOT_PRESENT"


def test_always_takes_what_the_registry_has_now(bench: Bench, tmp_path: Path) -> None:
    old, new = bench.fresh(), bench.fresh()
    old_id, new_id = bench.load(old), bench.load(new)
    with registry(tmp_path) as host:
        name = bench.push(old, host)
        assert bench.ensure(name, settings_with(**ALWAYS)).image_id == old_id
        bench.engine.api.tag(new, name.rpartition(":")[0], "2")
        for line in bench.engine.api.push(
            name.rpartition(":")[0], "2", stream=True, decode=True, auth_config={}
        ):
            assert "error" not in line
        retag(host, name)
        assert bench.ensure(name, settings_with(**IF_NOT_PRESENT)).image_id == old_id
        assert bench.ensure(name, settings_with(**ALWAYS)).image_id == new_id
        bench.forget(f"{name.rpartition(':')[0]}:2")


def retag(host: str, name: str) -> None:
    """Make tag 1 in the registry what tag 2 is."""
    import http.client

    repository = name.removeprefix(f"{host}/").rpartition(":")[0]
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    channel = http.client.HTTPConnection(host)
    channel.request("GET", f"/v2/{repository}/manifests/2", headers={"Accept": kind})
    manifest = channel.getresponse().read()
    channel.request("PUT", f"/v2/{repository}/manifests/1", manifest, {"Content-Type": kind})
    assert channel.getresponse().status == 201
    channel.close()


@pytest.mark.parametrize("name", ["autoscorer-test/none:1", "autoscorer-test/x:none"])
def test_what_the_registry_does_not_have_is_the_participants_fault(
    name: str, bench: Bench, tmp_path: Path
) -> None:
    with registry(tmp_path) as host:
        error = bench.fails(f"{host}/{name}", settings_with())
    assert_denied(error, bench)


def assert_denied(error: AutoscorerError, bench: Bench) -> None:
    assert (error.code, error.cause) == ("IMAGE_PULL_FAILED", "denied")
    assert (error.blame, error.retryable) == (Blame.PARTICIPANT, False)
    assert "image_pull_retried" not in bench.happened()
    assert "tries" not in error.details


@pytest.mark.parametrize("given", [{}, {"password": "wrong"}])
def test_a_registry_that_denies_is_not_asked_again(
    given: dict[str, str], bench: Bench, tmp_path: Path
) -> None:
    with registry(tmp_path, password=True) as host:
        environ = auth_for(host, **given) if given else {}
        error = bench.fails(f"{host}/autoscorer-test/x:1", settings_with(**environ))
    assert_denied(error, bench)
    assert "wrong" not in json.dumps(error.to_dict())


def test_credentials_come_from_the_settings_alone(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = bench.fresh()
    bench.load(source)
    with registry(tmp_path, password=True) as host:
        name = bench.push(source, host, auth={"username": USER, "password": PASSWORD})
        planted = {"auths": {host: {"auth": "dGVzdGVyOmNvcnJlY3QtaG9yc2U="}}}  # right, but the user's own
        (tmp_path / "config.json").write_text(json.dumps(planted))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        assert_denied(bench.fails(name, settings_with()), bench)
        assert bench.ensure(name, settings_with(**auth_for(host))).pull_seconds is not None
        bench.forget(name)

        import docker  # the control: docker-py by itself takes them

        plain = docker.APIClient(base_url="unix:///var/run/docker.sock", version="1.41")
        assert "Downloaded" in plain.pull(name)
        plain.close()


def test_a_refusal_in_a_registrys_own_words_is_a_denial(bench: Bench) -> None:
    with front(None, status=403, failures=99, body=DENIED) as strict:
        error = bench.fails(f"{strict.host}/autoscorer-test/x:1", settings_with())
    assert_denied(error, bench)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_registry_that_is_unwell_is_asked_again(status: int, bench: Bench, tmp_path: Path) -> None:
    source = bench.fresh()
    image_id = bench.load(source)
    with registry(tmp_path) as host:
        bench.push(source, host)
        # Each try asks twice: the pull itself, then why it failed.
        with front(host, status=status, failures=4) as unwell:
            image = bench.ensure(f"{unwell.host}/{source}", settings_with())
    assert image.image_id == image_id
    retried = [facts for name, facts in bench.events if name == "image_pull_retried"]
    assert [facts["tries"] for facts in retried] == list(range(1, len(retried) + 1))
    assert retried


def assert_platforms(error: AutoscorerError, bench: Bench) -> None:
    assert (error.code, error.cause) == ("IMAGE_PULL_FAILED", "network")
    assert (error.blame, error.retryable) == (Blame.PLATFORM, True)
    assert error.details["tries"] == QUICK.tries
    assert bench.happened().count("image_pull_retried") == QUICK.tries - 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_registry_that_stays_unwell_is_the_platforms_fault(status: int, bench: Bench) -> None:
    with front(None, status=status, failures=99) as unwell:
        error = bench.fails(f"{unwell.host}/autoscorer-test/x:1", settings_with())
    assert_platforms(error, bench)


def test_a_registry_that_cannot_be_reached_is_the_platforms_fault(bench: Bench) -> None:
    error = bench.fails(f"127.0.0.1:{free_port()}/autoscorer-test/x:1", settings_with())
    assert_platforms(error, bench)


def test_a_registry_that_never_answers_costs_the_pulls_budget_and_no_more(bench: Bench) -> None:
    began = time.monotonic()
    short = BackOff(tries=4, first_wait_s=0.02, longest_wait_s=0.05, budget_s=1.0)
    with silent_registry() as host, pytest.raises(AutoscorerError) as caught:
        pull(
            bench.engine,
            ImageName.parse(f"{host}/autoscorer-test/x:1"),
            settings_with(),
            on_event=lambda *_: None,
            back_off=short,
        )
    assert (caught.value.code, caught.value.cause) == ("IMAGE_PULL_FAILED", "network")
    assert time.monotonic() - began < 30


def test_a_pull_stops_when_the_job_is_cancelled(bench: Bench) -> None:
    with front(None, status=503, failures=99) as unwell, pytest.raises(AutoscorerError) as caught:
        ensure_image(
            bench.engine,
            plan_for(f"{unwell.host}/autoscorer-test/x:1", bench.folder),
            settings_with(),
            bench.folder,
            lambda name, facts: bench.events.append((name, facts)),
            stop=lambda: StopReason.CANCELLED if bench.events else None,
            back_off=QUICK,
        )
    assert caught.value.code == "CANCELLED"
    assert len(unwell.asked) <= 4  # one try: the pull itself, then why it failed


# Preflight, on what the engine says


def test_an_image_with_nothing_to_run_is_refused(bench: Bench) -> None:
    name = bench.fresh()
    bench.load(name, config={})
    assert bench.fails(name, command=()).code == "IMAGE_INVALID"
    assert bench.ensure(name, command=("/bin/true",)).name == name


def test_what_an_image_brings_is_told(bench: Bench) -> None:
    name = bench.fresh()
    config = {
        "Cmd": ["x"],
        "Env": ["A=1", "B=x=y", "LD_PRELOAD=/evil.so"],
        "Volumes": {"/data": {}, "/more/": {}},
        "User": "0:0",
        "Healthcheck": {"Test": ["CMD", "x"]},
    }
    bench.load(name, config=config)
    image = bench.ensure(name)
    assert image.env == {"A": "1", "B": "x=y", "LD_PRELOAD": "/evil.so"}
    assert image.volumes == ("/data", "/more")
    assert image.user == "0:0"
    assert len(image.warnings) == 3
    refused = bench.fails(name, gpus=1)
    assert (refused.code, refused.details["offenders"]) == ("IMAGE_INVALID", ["LD_PRELOAD"])


def test_an_image_for_another_processor_is_refused(bench: Bench) -> None:
    name = bench.fresh()
    bench.load(name, architecture="s390x")
    error = bench.fails(name)
    assert (error.code, error.details["given"]) == ("IMAGE_INVALID", "linux/s390x")


# Credentials


@pytest.mark.parametrize(
    ("key", "registry_host", "found"),
    [
        ("reg.example", "reg.example", True),
        ("reg.example:5000", "reg.example:5000", True),
        ("https://reg.example/v2/", "reg.example", True),
        ("https://index.docker.io/v1/", "docker.io", True),
        ("docker.io", "docker.io", True),
        ("reg.example", "reg.example:5000", False),
        ("reg.example", "evil.reg.example", False),
        ("reg.example", "docker.io", False),
    ],
)
def test_credentials_go_to_their_own_registry_only(key: str, registry_host: str, found: bool) -> None:
    given = credentials({key: {"username": "u", "password": "p"}}, registry_host)
    assert bool(given) is found
    if found:
        assert (given["username"], given["password"]) == ("u", "p")


def test_find_local_gives_what_the_engine_says(bench: Bench) -> None:
    name = bench.fresh()
    image_id = bench.load(name)
    found = find_local(bench.engine, ImageName.parse(name))
    assert found is not None
    assert found["Id"] == image_id
    assert find_local(bench.engine, ImageName.parse(bench.fresh())) is None
