"""The image of a job, ready to run: found here, delivered as an archive, or pulled; then checked.

The order (SPEC F2): the image of exactly this name on the engine; else `image.tar[.gz]` beside meta.json;
else a pull, as IMAGE_PULL_POLICY says. ``always`` leaves out the first step only: an archive is part of
what was submitted and cannot be outdated, so it goes before a registry under every policy.
IMAGE_ALLOWLIST is asked before any of it: about the name, and about an archive's content, by image id.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autoscorer.executor.base import AttemptPlan, OnEvent, StopSignal
from autoscorer.executor.docker.archive_layout import ArchivedImage
from autoscorer.executor.docker.client import Engine, engine_errors, engine_text
from autoscorer.executor.docker.image_archive import ImageArchive, open_archive
from autoscorer.executor.docker.image_pull import PULL_BACK_OFF, heed, messages, pull
from autoscorer.executor.docker.preflight import check_disk, check_gpu_env, check_platform, runnable_image
from autoscorer.executor.docker.types import EngineFacts, RunnableImage
from autoscorer.executor.image_names import (
    ImageName,
    check_allowed,
    check_archive_allowed,
    image_name,
    same_name,
)
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError
from autoscorer.utils.retry import BackOff

LOAD_SILENCE_S = 300.0  # a large layer is unpacked without a word


def ensure_image(
    engine: Engine,
    plan: AttemptPlan,
    settings: Settings,
    workspace_dir: Path,
    on_event: OnEvent,
    *,
    stop: StopSignal = lambda: None,
    back_off: BackOff = PULL_BACK_OFF,
) -> RunnableImage:
    """The image ``plan`` names, on the engine and fit to run; a pull has ``back_off``'s budget of its own.

    Raises CONFIG_VALIDATION_ERROR (no image name), LIMIT_EXCEEDED (not on the operator's list),
    IMAGE_NOT_PRESENT, IMAGE_INVALID, IMAGE_PULL_FAILED, RESOURCE_UNAVAILABLE, CANCELLED.
    """
    name = image_name(plan.image)
    check_allowed(name, settings.image_allowlist)
    if plan.limits.gpus:
        check_gpu_env(plan.env)
    facts, seconds = engine.facts(), None
    check_disk(0, free_disk_bytes(facts))
    source = "engine"
    found = None if settings.image_pull_policy == "always" else find_local(engine, name)
    if found is None:
        source, found = "archive", _from_archive(engine, name, settings, workspace_dir, on_event)
    heed(stop)
    if found is None:
        if settings.image_pull_policy == "never":
            raise _not_present(name, "IMAGE_PULL_POLICY is never, so it is not pulled.")
        source = "registry"
        seconds = pull(engine, name, settings, on_event=on_event, stop=stop, back_off=back_off)
        found = find_local(engine, name)
    if found is None:
        raise _not_present(name, "The engine does not have it after pulling it.")
    image = runnable_image(
        found, facts, name=name, command=plan.command, gpus=plan.limits.gpus, pull_seconds=seconds
    )
    on_event("image_ready", {"image": image.name, "image_id": image.image_id, "source": source})
    return image


def find_local(engine: Engine, name: ImageName) -> dict[str, Any] | None:
    """What the engine says of the image of exactly this name; None if it has none."""
    found = _inspect(engine, str(name))
    # The engine also finds by id and by parts of one; only a name counts.
    given = (found.get("RepoDigests") if name.digest else found.get("RepoTags")) if found else None
    return found if same_name(name, given or ()) else None


def free_disk_bytes(facts: EngineFacts) -> int | None:
    """Free space where the engine keeps its images; None when that is not on this machine."""
    if not facts.local:
        return None
    try:
        disk = os.statvfs(facts.data_root)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize


def _from_archive(
    engine: Engine, name: ImageName, settings: Settings, workspace_dir: Path, on_event: OnEvent
) -> dict[str, Any] | None:
    """The image of the workspace's archive, loaded without its tags; None if there is no archive."""
    with open_archive(workspace_dir) as archive:
        if archive is None:
            return None
        image = archive.inspect()
        check_archive_allowed(image.image_id, settings.image_allowlist)
        _check_tags(archive.name, image, name)
        facts = engine.facts()
        check_platform(image.facts.system, image.facts.architecture, facts)
        found, loaded = _find_archived(engine, image), False
        if found is None:
            check_disk(image.content_bytes, free_disk_bytes(facts))
            on_event("image_load_started", {"image": str(name), "file": archive.name})
            _load(engine, archive, image)
            found, loaded = _find_archived(engine, image), True
    return _checked(engine, found, image, archive.name, loaded=loaded)


def _find_archived(engine: Engine, image: ArchivedImage) -> dict[str, Any] | None:
    return next(filter(None, (_inspect(engine, image_id) for image_id in image.known_as)), None)


def _checked(
    engine: Engine, found: dict[str, Any] | None, image: ArchivedImage, filename: str, *, loaded: bool
) -> dict[str, Any]:
    """``found``, if it is what was inspected: the engine may read a config otherwise than we did."""
    if found is None:
        raise _invalid(filename, "The engine does not keep the image under its id.", {})
    layers = tuple((found.get("RootFS") or {}).get("Layers") or ())
    if found.get("Id") in image.known_as and layers == image.facts.diff_ids:
        return found
    if loaded:
        with (
            suppress(AutoscorerError),
            engine_errors("removing the image"),
        ):  # the verdict stands all the same
            engine.api.remove_image(found["Id"])
    raise _invalid(filename, "The engine reads another image out of the archive.", {})


def _load(engine: Engine, archive: ImageArchive, image: ArchivedImage) -> None:
    """Give the engine the archive. Its refusal is the archive's fault, once the disk is known to suffice."""
    api = engine.api
    try:
        with engine_errors("loading the image", refused="IMAGE_INVALID"):
            response = api.post(
                api._url("/images/load"),
                data=archive.stream(image),
                params={"quiet": "0"},
                headers={"Content-Type": "application/x-tar"},
                stream=True,
                timeout=(api.timeout, LOAD_SILENCE_S),
            )
            try:
                api._raise_for_status(response)
                failures = [failure for line in messages(response) if (failure := line.get("error"))]
            finally:
                response.close()
        if failures:
            raise _invalid(
                archive.name, "The engine cannot load the image.", {"engine": engine_text(failures[0])}
            )
    except AutoscorerError as exc:
        if exc.code == "IMAGE_INVALID" and "engine" in exc.details:
            check_disk(0, free_disk_bytes(engine.facts()))
        raise


def _check_tags(filename: str, image: ArchivedImage, name: ImageName) -> None:
    """An archive that names its image must name the one that container.image asks for."""
    if image.tags and not same_name(name, image.tags):
        shown = ", ".join(tag[:100] for tag in image.tags[:3])
        raise _invalid(
            filename,
            f"It holds {shown}, but container.image is {name}.",
            {"offenders": [tag[:100] for tag in image.tags[:3]], "expected": str(name)},
        )


def _inspect(engine: Engine, name: str) -> dict[str, Any] | None:
    try:
        with engine_errors("looking for the image"):
            found: dict[str, Any] = engine.api.inspect_image(name)
    except AutoscorerError as exc:
        if exc.details.get("status") == 404:
            return None
        raise
    return found


def _not_present(name: ImageName, why: str) -> AutoscorerError:
    details = {
        "image": str(name),
        "expected": "the image on the engine, image.tar(.gz) beside meta.json, or a policy that pulls",
        "setting": "IMAGE_PULL_POLICY",
    }
    return AutoscorerError("IMAGE_NOT_PRESENT", f"There is no image {name} here. {why}", details)


def _invalid(filename: str, why: str, details: Mapping[str, Any]) -> AutoscorerError:
    return AutoscorerError("IMAGE_INVALID", f"{filename}: {why}", {"file": filename, **details})
