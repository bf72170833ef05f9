"""Image archives for tests, honest and hostile, written member by member with `tarfile`."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.imaging import ARCHITECTURE, layer

LAYER = layer({"data/one.txt": b"one"})
SECOND = layer({"data/two.txt": b"two" * 1000})


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def blob(content: bytes) -> str:
    return f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"


def config_of(layers: Sequence[bytes], **changes: Any) -> bytes:
    """An image's config; ``layers`` are the unpacked ones."""
    document = {
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(content) for content in layers]},
        **changes,
    }
    return json.dumps(document).encode()


def member(name: str, kind: bytes = tarfile.REGTYPE, *, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


def tar_of(
    members: Mapping[str, bytes] | Iterable[tuple[str | tarfile.TarInfo, bytes]],
    form: int = tarfile.GNU_FORMAT,
) -> bytes:
    """A tar of these members, in this order; a name may come twice."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as tar:
        for name, body in members.items() if isinstance(members, Mapping) else members:
            info = name if isinstance(name, tarfile.TarInfo) else member(name, size=len(body))
            tar.addfile(info, io.BytesIO(body))
    return content.getvalue()


def docker_members(
    layers: Sequence[bytes] = (LAYER,),
    *,
    tags: Sequence[str] | None = None,
    document: bytes | None = None,
    **changes: Any,
) -> dict[str, bytes]:
    """What `docker save` writes, manifest last as engines before 25 do; ``document`` is the config."""
    config = document or config_of(layers, **changes)
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    paths = {f"{hashlib.sha256(content).hexdigest()}/layer.tar": content for content in layers}
    manifest = [{"Config": name, "RepoTags": list(tags) if tags is not None else None, "Layers": list(paths)}]
    return {**paths, name: config, "manifest.json": json.dumps(manifest).encode()}


def oci_members(
    layers: Sequence[bytes] = (LAYER,), *, packed: bool = False, nested: bool = False, name: str = ""
) -> dict[str, bytes]:
    """An OCI layout; ``nested`` as buildx writes it: an index that holds the image and an attestation."""
    kind = "application/vnd.oci.image"
    config = config_of(layers)
    stored = [gzip.compress(content) if packed else content for content in layers]

    def describe(content: bytes, media: str) -> dict[str, Any]:
        return {"mediaType": f"{kind}.{media}", "digest": digest_of(content), "size": len(content)}

    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": describe(config, "config.v1+json"),
            "layers": [describe(content, "layer.v1.tar") for content in stored],
        }
    ).encode()
    members = {blob(content): content for content in (*stored, config, manifest)}
    descriptor = describe(manifest, "manifest.v1+json")
    if name:
        descriptor["annotations"] = {"io.containerd.image.name": name}
    if nested:
        attestation = {
            **describe(b"{}", "manifest.v1+json"),
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        }
        inner = json.dumps({"schemaVersion": 2, "manifests": [descriptor, attestation]}).encode()
        members |= {blob(inner): inner, blob(b"{}"): b"{}"}
        descriptor = describe(inner, "index.v1+json")
    index = json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode()
    return {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index, **members}


def put_archive(folder: Path, content: bytes, name: str = "image.tar") -> Path:
    """``content`` as the archive of a workspace; packed when the name says so."""
    packed = (
        gzip.compress(content) if name.endswith(".gz") and not content.startswith(b"\x1f\x8b") else content
    )
    (folder / name).write_bytes(packed)
    return folder
