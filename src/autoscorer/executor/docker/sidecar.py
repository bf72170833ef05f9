"""What streams the data of one attempt: a volume of its own and a sidecar container of ours that sees it.

The program's container gets the same mounts as on a shared path: folders of that volume, where the engine
has them. Only the sidecar reads what the program wrote there, as its user and with no rights beside.
"""

from __future__ import annotations

import http
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoscorer.executor.base import Limits, OnEvent, StopSignal
from autoscorer.executor.docker.client import Engine, engine_errors
from autoscorer.executor.docker.containers import EngineSilentError, asking, remove_container
from autoscorer.executor.docker.image_pull import pull
from autoscorer.executor.docker.images import find_local
from autoscorer.executor.docker.options import create_body
from autoscorer.executor.docker.planning import HOSTS
from autoscorer.executor.docker.types import ContainerPlan, RunnableImage
from autoscorer.executor.image_names import image_name
from autoscorer.executor.streaming.scripts import VOLUMES_AT, attend_script
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError

ROOT = "0:0"  # in the sidecar, and there without any capability: it owns the volume
OOM_SCORE = 500  # if the machine runs out of memory, the program goes before its sidecar
_MIB = 2**20


def sidecar_name(attempt_name: str) -> str:
    return f"{attempt_name}-sidecar"


def volume_name(attempt_name: str) -> str:
    return f"{attempt_name}-data"


def preface() -> str:
    """What is made on the new volume before the data come; the program may write to `output` alone."""
    lines = " ".join(f"'{line}'" for line in HOSTS.splitlines())
    output = f"{VOLUMES_AT}/output"
    return (
        f"umask 022; mkdir -p {VOLUMES_AT}/workspace; printf '%s\\n' {lines} > {VOLUMES_AT}/hosts; "
        f"[ -d {output} ] || mkdir -m 777 {output}; "
    )


def sidecar_body(
    image: RunnableImage,
    limits: Limits,
    *,
    name: str,
    labels: Mapping[str, str],
    user: str,
    security_opts: tuple[str, ...],
) -> dict[str, Any]:
    """The body of the create call: confined as a job's container is; it sees the volume and watches it."""
    plan = ContainerPlan(
        name=sidecar_name(name),
        labels=labels,
        image=image,
        command=(),
        env={},
        user=user,
        bindings=(),
        cpu_cores=1,
        memory_bytes=128 * _MIB,
        shm_bytes=_MIB,
        tmp_bytes=_MIB,
        gpu_ids=(),
        processes=64,
        file_bytes=None,
        network="none",
        security_opts=security_opts,
        volume_bytes=_MIB,
    )
    body = create_body(plan, init=False)
    volume = {
        "Type": "volume",
        "Source": volume_name(name),
        "Target": VOLUMES_AT,
        "VolumeOptions": {"NoCopy": True},
    }
    body["HostConfig"] |= {"Mounts": [volume], "OomScoreAdj": OOM_SCORE}
    return body | {"Entrypoint": ["sh", "-c", attend_script(limits)], "AttachStdout": False}


def ensure_sidecar_image(
    engine: Engine, settings: Settings, on_event: OnEvent, *, stop: StopSignal
) -> RunnableImage:
    """DOCKER_HELPER_IMAGE on the engine, pulled if IMAGE_PULL_POLICY allows it.

    Raises RESOURCE_UNAVAILABLE when it cannot be had: the operator chose it.
    """
    name = image_name(settings.docker_helper_image)
    found = find_local(engine, name)
    if found is None and settings.image_pull_policy != "never":
        try:
            pull(engine, name, settings, on_event=on_event, stop=stop)
        except AutoscorerError as exc:
            if not exc.code.startswith("IMAGE_"):
                raise
            raise _no_sidecar(str(name), exc.message) from exc
        found = find_local(engine, name)
    if found is None:
        raise _no_sidecar(str(name), "it is not on the engine, and IMAGE_PULL_POLICY is never")
    volumes = (found.get("Config") or {}).get("Volumes") or ()
    return RunnableImage(
        name=str(name), image_id=found["Id"], repo_digest=None, volumes=tuple(volumes), env={}, user=""
    )


def _no_sidecar(name: str, why: str) -> AutoscorerError:
    return AutoscorerError(
        "RESOURCE_UNAVAILABLE",
        f"The workspace must be streamed to this engine, and the image {name} for that cannot be had: {why}",
        {"setting": "DOCKER_HELPER_IMAGE", "expected": f"docker pull {name} where the engine runs"},
    )


def make_volume(engine: Engine, name: str, labels: Mapping[str, str]) -> Path:
    """The attempt's volume; where the engine has it."""
    with engine_errors("making a volume", refused="CONTAINER_CREATE_FAILED", lost="CONTAINER_WAIT_FAILED"):
        made = engine.api.create_volume(volume_name(name), labels=dict(labels))
    return Path(str(made["Mountpoint"]))


def start_sidecar(engine: Engine, name: str, body: Mapping[str, Any]) -> str:
    """Its id. Raises CONTAINER_CREATE_FAILED, CONTAINER_WAIT_FAILED."""
    with engine_errors(
        "making the sidecar container", refused="CONTAINER_CREATE_FAILED", lost="CONTAINER_WAIT_FAILED"
    ):
        made = str(engine.api.create_container_from_config(dict(body), sidecar_name(name))["Id"])
    with engine_errors(
        "starting the sidecar container", refused="CONTAINER_CREATE_FAILED", lost="CONTAINER_WAIT_FAILED"
    ):
        engine.api.start(made)
    return made


def remove_sidecar(engine: Engine, name: str, *, tries: int) -> bool:
    """Sidecar and volume; whether both are gone. What is gone already is no error."""
    return remove_container(engine, sidecar_name(name), tries=tries) and remove_volume(engine, name)


def remove_volume(engine: Engine, name: str) -> bool:
    """The attempt's volume; whether it is gone, or never was."""
    try:
        with asking(fine=(http.HTTPStatus.NOT_FOUND,)):
            engine.api.remove_volume(volume_name(name), force=True)
    except LookupError:
        return True
    except EngineSilentError:
        return False
    return True
