"""The archive we hand to an engine: one image, without tags, under names of our own."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from autoscorer.executor.docker.image_manifest import ImageConfig
from autoscorer.unpacking.tar_stream import BLOCK_BYTES

_MEDIA_TYPE = "application/vnd.oci.image"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer as it stands in the archive: ``blob`` is the SHA-256 of its bytes, compressed or not."""

    member: str
    size_bytes: int
    blob: str
    compressed: bool


@dataclass(frozen=True, kw_only=True)
class ArchivedImage:
    """The one image of an archive, checked. ``image_id`` is the SHA-256 of its config, as engines have it."""

    image_id: str
    config: bytes
    facts: ImageConfig
    layers: tuple[Layer, ...]
    tags: tuple[str, ...]
    content_bytes: int

    @property
    def manifest(self) -> bytes:
        """The OCI manifest we hand on."""
        return _json(
            {
                "schemaVersion": 2,
                "mediaType": f"{_MEDIA_TYPE}.manifest.v1+json",
                "config": _descriptor("config.v1+json", self.image_id, len(self.config)),
                "layers": [
                    _descriptor(f"layer.v1.tar{'+gzip' * layer.compressed}", layer.blob, layer.size_bytes)
                    for layer in self.layers
                ],
            }
        )

    @property
    def known_as(self) -> tuple[str, ...]:
        """The ids an engine may give it: its config's, or with containerd's store its manifest's."""
        return self.image_id, sha256_name(self.manifest)


def own_members(image: ArchivedImage) -> Iterator[bytes]:
    """All but the layers, in both layouts: older engines read the one, containerd's store the other."""
    manifest = image.manifest
    docker = [
        {
            "Config": blob_path(image.image_id),
            "RepoTags": None,
            "Layers": [blob_path(layer.blob) for layer in image.layers],
        }
    ]
    index = {
        "schemaVersion": 2,
        "manifests": [_descriptor("manifest.v1+json", sha256_name(manifest), len(manifest))],
    }
    for name, content in (
        ("oci-layout", _json({"imageLayoutVersion": "1.0.0"})),
        ("index.json", _json(index)),
        ("manifest.json", _json(docker)),
        (blob_path(sha256_name(manifest)), manifest),
        (blob_path(image.image_id), image.config),
    ):
        yield member_header(name, len(content)) + content + bytes(-len(content) % BLOCK_BYTES)


def member_header(name: str, size_bytes: int) -> bytes:
    """The header of a regular file."""
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    return info.tobuf(format=tarfile.GNU_FORMAT)


def sha256_name(content: bytes) -> str:
    """``sha256:`` and the hex digest."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def blob_path(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _descriptor(kind: str, digest: str, size_bytes: int) -> dict[str, Any]:
    return {"mediaType": f"{_MEDIA_TYPE}.{kind}", "digest": digest, "size": size_bytes}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
