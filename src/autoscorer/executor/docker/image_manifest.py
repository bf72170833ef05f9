"""Which config and which layers make the one image of an archive (docker-save or OCI layout)."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoscorer.unpacking.tar_stream import BrokenArchiveError

DOCKER_MANIFEST = "manifest.json"
OCI_INDEX = "index.json"
MAX_LAYERS = 128  # overlay2's own limit
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)

ReadJson = Callable[[str], bytes]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The members an image is made of. ``digests``: the SHA-256 a member must have."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]
    digests: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """What we need of an image's config."""

    system: str
    architecture: str
    diff_ids: tuple[str, ...]


def find_parts(names: Sequence[str], read: ReadJson) -> Parts:
    """The parts of the one image; ``read`` gives a member's content. Raises BrokenArchiveError."""
    if DOCKER_MANIFEST in names:
        return _docker_parts(parse_json(read(DOCKER_MANIFEST), DOCKER_MANIFEST))
    if OCI_INDEX in names:
        return _oci_parts(read)
    raise BrokenArchiveError("it has neither manifest.json (docker save) nor index.json (OCI layout)")


def parse_config(content: bytes) -> ImageConfig:
    """Raises BrokenArchiveError unless it is an image's config that names its layers by SHA-256."""
    config = parse_json(content, "the image's config")
    rootfs = config.get("rootfs") if isinstance(config, dict) else None
    diff_ids = rootfs.get("diff_ids", []) if isinstance(rootfs, dict) else None
    if not _texts(diff_ids) or not all(_DIGEST.fullmatch(digest) for digest in diff_ids or ()):
        raise BrokenArchiveError("the image's config does not name its layers")
    system, architecture = config.get("os"), config.get("architecture")
    if not isinstance(system, str) or not isinstance(architecture, str):
        raise BrokenArchiveError("the image's config does not name system and architecture")
    return ImageConfig(system=system, architecture=architecture, diff_ids=tuple(diff_ids or ()))


def parse_json(content: bytes, name: str) -> Any:
    """A JSON document in which no key stands twice. Raises BrokenArchiveError."""
    try:
        return json.loads(content.decode(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as exc:
        raise BrokenArchiveError(f"{name} is not valid JSON") from exc


def member_name(name: str) -> str:
    """A member's name in its plain form. Raises BrokenArchiveError for one that leads out of the archive."""
    plain = posixpath.normpath(name)
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise BrokenArchiveError("a member's name leads out of the archive")
    return plain


def link_target(name: str, target: str, *, symbolic: bool) -> str:
    """The member a link means (docker save writes repeated layers so). Raises BrokenArchiveError."""
    base = posixpath.dirname(name) if symbolic else ""
    plain = posixpath.normpath(posixpath.join(base, target))
    if not target or target.startswith("/") or plain == ".." or plain.startswith("../"):
        raise BrokenArchiveError("a link leads out of the archive")
    return plain


def _docker_parts(manifest: Any) -> Parts:
    if not isinstance(manifest, list) or not all(isinstance(entry, dict) for entry in manifest):
        raise BrokenArchiveError("manifest.json is no list of images")
    if len(manifest) != 1:
        raise BrokenArchiveError(f"it holds {len(manifest)} images; one is expected")
    config = manifest[0].get("Config")
    layers, tags = manifest[0].get("Layers") or [], manifest[0].get("RepoTags") or []
    if not isinstance(config, str) or not _texts(layers) or not _texts(tags) or len(layers) > MAX_LAYERS:
        raise BrokenArchiveError("manifest.json does not name config, layers and tags as docker save does")
    return Parts(
        config=member_name(config), layers=tuple(map(member_name, layers)), tags=tuple(tags), digests={}
    )


def _oci_parts(read: ReadJson) -> Parts:
    descriptor = _only_image(parse_json(read(OCI_INDEX), OCI_INDEX))
    tags = _tags(descriptor)
    if descriptor.get("mediaType") in _INDEXES:  # one more level: an image with its attestations
        descriptor = _only_image(parse_json(read(_blob(descriptor)), "the image's index"))
    manifest = parse_json(read(_blob(descriptor)), "the image's manifest")
    layers = manifest.get("layers", []) if isinstance(manifest, dict) else None
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        raise BrokenArchiveError("the image's manifest does not name its layers")
    config, *blobs = map(_blob, (manifest.get("config"), *layers))
    names = (_blob(descriptor), config, *blobs)
    digests = {name: f"sha256:{posixpath.basename(name)}" for name in names}
    return Parts(config=config, layers=tuple(blobs), tags=tags, digests=digests)


def _only_image(index: Any) -> dict[str, Any]:
    listed = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        raise BrokenArchiveError("its index is no list of images")
    images = [row for row in listed if not _is_attestation(row)]
    if len(images) != 1:
        raise BrokenArchiveError(f"it holds {len(images)} images; one is expected")
    found: dict[str, Any] = images[0]
    return found


def _is_attestation(row: Mapping[str, Any]) -> bool:
    annotations = row.get("annotations")
    return isinstance(annotations, dict) and "vnd.docker.reference.type" in annotations


def _tags(descriptor: Mapping[str, Any]) -> tuple[str, ...]:
    annotations = descriptor.get("annotations")
    name = annotations.get("io.containerd.image.name") if isinstance(annotations, dict) else None
    return (name,) if isinstance(name, str) else ()


def _blob(descriptor: Any) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise BrokenArchiveError("it names a part without a SHA-256")
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found
