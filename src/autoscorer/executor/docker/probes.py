"""What a Docker engine really enforces: attacks in containers that get exactly what every job gets.

The image is empty but for links: it is given this machine's /usr and Python read-only, so that nothing
needs to be pulled. It is removed afterwards; one that a killed run left is removed by the next.
"""

from __future__ import annotations

import io
import os
import secrets
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoscorer.confine import properties
from autoscorer.confine.bubblewrap import Host
from autoscorer.confine.probes import (
    INSIDE,
    LOG_BYTES,
    OUTPUT_BYTES,
    Bounds,
    Diagnosis,
    Look,
    Probe,
    Prober,
    Trial,
    python,
    told,
)
from autoscorer.executor.base import AttemptPlan, Isolation, Limits, RunOutcome, StopReason
from autoscorer.executor.docker.client import Engine, connect, engine_errors, engine_text
from autoscorer.executor.docker.escapes import version_advice
from autoscorer.executor.docker.isolation import FILESYSTEM, FIRST_PROCESS, OUTPUT_FILE_SYSTEM, SWAP
from autoscorer.executor.docker.types import Binding
from autoscorer.executor.docker_executor import DockerExecutor
from autoscorer.executor.ownership import Owner, process_is_alive
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError

REPOSITORY = "autoscorer/doctor"
LABEL = "autoscorer.doctor"  # on the image: the process that made it
KERNEL = "a kernel of its own"
_NOT_TRIED = Probe(
    name="container",
    enforced=False,
    detail="not tried: the engine is on another machine; run `autoscorer doctor` there",
)
# What the lack of a property means, for those that are not attacked.
_MEANING = {
    KERNEL: "containers share the host's kernel; keep it patched, and hostile code off machines that matter",
    properties.HOST_USER: "outside the container the program's user is ours; run AutoScorer as another",
    properties.DISK: "output is measured a few times a second; a cap takes root, a loop device and mke2fs",
    FIRST_PROCESS: "the engine has no docker-init; zombies stay until the container ends",
    SWAP: "the kernel does not count swap; memory may be swapped out",
}
_FILES_TRIED = "files of the host, the truth among them, the engine's socket, inherited descriptors"
_WRITE_UNSEEN = f"""
import os
for number in range(8):
    file = open(f"output/{{number}}", "wb", buffering=0)
    os.unlink(f"output/{{number}}")
    for _ in range(4):
        assert file.write(bytes({OUTPUT_BYTES})) == {OUTPUT_BYTES}
    globals()[f"kept_{{number}}"] = file
"""


def diagnose_engine(settings: Settings) -> Diagnosis:
    """Ask the engine about itself, and attack each property in containers of its own.

    Raises AutoscorerError RESOURCE_UNAVAILABLE when no engine answers.
    """
    with connect(settings) as engine:
        local = engine.facts().local
        version, info = _told_by(engine)
        engine_says = engine_facts(version, info) | {"on_this_machine": local}
        advice = tuple(version_advice(_versions(version)))
        if not local:
            return Diagnosis(
                backend="docker", probes=(_NOT_TRIED,), never_enforced={}, engine=engine_says, advice=advice
            )
        with probe_image(engine) as image, DockerProber(settings, image) as prober:
            probes = tuple(prober.attack())
    return Diagnosis(
        backend="docker",
        probes=probes,
        never_enforced=prober.never_enforced({probe.name for probe in probes}),
        engine=engine_says,
        advice=advice,
    )


def engine_facts(version: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """What the engine says of itself, as far as isolation depends on it."""
    options = [str(option) for option in info.get("SecurityOptions") or ()]
    return {
        "version": str(version.get("Version", "")),
        "components": _versions(version),
        "kernel": str(info.get("KernelVersion", "")),
        "cgroup_version": str(info.get("CgroupVersion", "")),
        "storage_driver": str(info.get("Driver", "")),
        "security_options": options,
        "user_namespace_remap": any("name=userns" in option for option in options),
        "rootless": any("name=rootless" in option for option in options),
        "live_restore": bool(info.get("LiveRestoreEnabled")),
    }


def _told_by(engine: Engine) -> tuple[dict[str, Any], dict[str, Any]]:
    with engine_errors("asking the engine about itself"):
        return engine.api.version(), engine.api.info()


def _versions(version: Mapping[str, Any]) -> dict[str, str]:
    return {str(row.get("Name")): str(row.get("Version", "")) for row in version.get("Components") or ()}


@contextmanager
def probe_image(engine: Engine) -> Iterator[str]:
    """An image with nothing of its own, under a name of this call; gone afterwards."""
    _remove_left_over(engine)
    tag = secrets.token_hex(8)
    labelled = f"LABEL {LABEL}={Owner.this_process()}"
    with engine_errors("making the image to probe with"):
        engine.api.import_image_from_data(_root_links(), repository=REPOSITORY, tag=tag, changes=[labelled])
    try:
        yield f"{REPOSITORY}:{tag}"
    finally:
        _remove_image(engine, f"{REPOSITORY}:{tag}")


def _root_links() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.addfile(_member("tmp", tarfile.DIRTYPE))
        for path, target in Host.here().root_links.items():
            # The engine puts docker-init into /sbin; behind a link it would lie below our /usr.
            if target is not None and path != "/sbin":
                member = _member(path.lstrip("/"), tarfile.SYMTYPE)
                member.linkname = target
                tar.addfile(member)
    return content.getvalue()


def _member(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode = kind, 0o755
    return member


def _remove_left_over(engine: Engine) -> None:
    with engine_errors("looking for images left behind"):
        rows = engine.api.images(filters={"label": [LABEL]})
    for row in rows:
        owner = Owner.parse(str((row.get("Labels") or {}).get(LABEL)))
        if owner is not None and not process_is_alive(owner):
            _remove_image(engine, row["Id"])


def _remove_image(engine: Engine, name: str) -> None:
    with suppress(AutoscorerError), engine_errors("removing the image to probe with"):
        engine.api.remove_image(name, force=True)


def _host_bindings(host: Host) -> tuple[Binding, ...]:
    """What a Python needs of this machine, read-only and at the same place."""
    trees = [Path("/usr"), *(Path(path) for path, link in host.root_links.items() if link is None)]
    trees += [tree for tree in host.interpreter.trees if not any(map(tree.is_relative_to, trees))]
    trees += [path for path in [Path("/etc/ld.so.cache")] if path.exists()]
    return tuple(Binding(source=tree, target=str(tree), read_only=True) for tree in trees)


class DockerProber(Prober):
    """Runs each attack through the Docker backend."""

    shows_sysfs = True  # read-only, as Docker has it

    def __init__(self, settings: Settings, image: str) -> None:
        super().__init__()
        host = Host.here()
        self._python = str(host.interpreter.aliases.get("python", host.interpreter.bin_dir / "python"))
        self._image = image
        # A doctor's image is not a job's: nothing of the operator's rules for those is about it.
        own = replace(settings, image_allowlist=None, image_pull_policy="never", docker_transport="bind")
        self._executor = DockerExecutor(own, also_shown=_host_bindings(host))
        self._isolation: Isolation | None = None
        self.engine_socket = settings.docker_host.removeprefix("unix://")
        self.inside: dict[str, tuple[str, str]] = {**INSIDE, "filesystem": (FILESYSTEM, _FILES_TRIED)}
        if os.geteuid() == 0:  # else the container's user is ours, and said to be so
            self.inside["host_user"] = (properties.HOST_USER, "its user outside")

    def attack(self) -> list[Probe]:
        found = super().attack()
        if len(found) > 1 and self.has(properties.DISK):
            found.append(self.disk_quota())
        return found

    def output_limit(self) -> Probe:
        if self.has(OUTPUT_FILE_SYSTEM):
            self.output_property = OUTPUT_FILE_SYSTEM
        return super().output_limit()

    def disk_quota(self) -> Probe:
        bounds = Bounds(output_bytes=OUTPUT_BYTES)
        trial = self.run(self._workspace(), python(_WRITE_UNSEEN), bounds)
        broken_by = "wrote on into files without a name" if trial.exit_code == 0 else ""
        return told(properties.DISK, "files that are written after they were unlinked", broken_by)

    def has(self, name: str) -> bool:
        """Whether a container's own report claims this property; false before the first has run."""
        return self._isolation is not None and name in self._isolation.enforced

    def never_enforced(self, tried: set[str]) -> dict[str, str]:
        """What no container here is kept from, and what that means; without what was attacked."""
        missing = self._isolation.not_enforced if self._isolation is not None else ()
        names = [KERNEL, *(name for name in missing if name not in tried)]
        return {name: _MEANING.get(name, "the engine or kernel does not enforce it") for name in names}

    def run(
        self, folder: Path, program: tuple[str, ...], bounds: Bounds, look: Look = lambda _output: None
    ) -> Trial:
        plan = self._plan(folder, program, bounds)

        def collect(output: Path, outcome: RunOutcome) -> None:
            self._isolation = outcome.isolation
            look(output)

        ended = self._executor.run(
            plan, stop=lambda: None, on_event=lambda _event, _facts: None, collect=collect
        )
        return Trial(
            exit_code=ended.exit_code,
            duration_s=ended.duration_s,
            over_output=ended.stopped is StopReason.OUTPUT_LIMIT,
            stderr_tail=engine_text(ended.stderr_tail),
            log_bytes=(plan.logs_dir / "container.log").stat().st_size,
        )

    def _plan(self, folder: Path, program: tuple[str, ...], bounds: Bounds) -> AttemptPlan:
        for path in (folder / "input", *(folder / "input").iterdir()):
            path.chmod(0o755)  # whatever our umask is, its user is another
        return AttemptPlan(
            job_id="doctor",
            attempt_id="1",
            image=self._image,
            command=(self._python, *program[1:]),
            env={},
            limits=_limits(bounds),
            input_dir=folder / "input",
            spec_path=folder / "meta.json",
            attempt_dir=folder / ".attempts" / "1",
            logs_dir=folder / "logs",
        )


def _limits(bounds: Bounds) -> Limits:
    mib = 2**20
    return Limits(
        cpu_cores=bounds.cpu_cores or 1,
        memory_bytes=bounds.memory_bytes or 128 * mib,
        gpus=0,
        shm_bytes=mib,
        time_limit_s=bounds.time_limit_s,
        output_bytes=bounds.output_bytes or 4 * mib,
        output_entries=100,
        processes=bounds.tasks or 64,
        log_bytes=LOG_BYTES,
    )
