"""Images written by hand: an archive as `docker save` writes it, from files and a configuration.

Standard library only; `scripts/testbed` uses it before anything is installed.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

KEPT_BUSYBOX = Path(__file__).resolve().parent.parent / ".cache" / "testbed" / "busybox"
ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), "amd64")
BUSYBOX_TOOLS = (
    *("sh", "cat", "chmod", "dd", "id", "ip", "ln", "ls", "mkdir"),
    *("mknod", "rm", "sleep", "test", "touch", "true", "wc"),
)


def layer(files: Mapping[str, bytes | Path], *, links: Mapping[str, str] | None = None) -> bytes:
    """An image layer with these files (executable, root's) and symbolic links."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for folder in sorted({str(parent) for name in files for parent in Path(name).parents} - {"."}):
            tar.addfile(_member(folder, tarfile.DIRTYPE))
        for name, source in files.items():
            body = source.read_bytes() if isinstance(source, Path) else source
            member = _member(name, tarfile.REGTYPE)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
        for name, target in (links or {}).items():
            member = _member(name, tarfile.SYMTYPE)
            member.linkname = target
            tar.addfile(member)
    return content.getvalue()


def busybox_layer() -> bytes:
    """Debian's static busybox, which `scripts/testbed` keeps, as /bin/sh and friends."""
    links = {f"bin/{tool}": "busybox" for tool in BUSYBOX_TOOLS}
    return layer({"bin/busybox": KEPT_BUSYBOX}, links=links)


def write_archive(
    target: BinaryIO,
    layers: Iterable[bytes | Path],
    *,
    tags: Iterable[str],
    config: Mapping[str, Any] | None = None,
    architecture: str = ARCHITECTURE,
) -> str:
    """Write a `docker save` archive and return the image's id. ``config`` is how the image is run."""
    with tarfile.open(fileobj=target, mode="w") as tar:
        digests = [_add_layer(tar, source) for source in layers]
        document = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], **(config or {})},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
            "history": [{"created_by": "tests/imaging.py"} for _ in digests],
        }
        body = json.dumps(document, sort_keys=True).encode()
        digest = hashlib.sha256(body).hexdigest()
        _add(tar, f"{digest}.json", body)
        manifest = [
            {
                "Config": f"{digest}.json",
                "RepoTags": list(tags),
                "Layers": [f"{name}/layer.tar" for name in digests],
            }
        ]
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    return f"sha256:{digest}"


def _add_layer(tar: tarfile.TarFile, source: bytes | Path) -> str:
    if isinstance(source, bytes):
        digest = hashlib.sha256(source).hexdigest()
        _add(tar, f"{digest}/layer.tar", source)
        return digest
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    tar.add(source, f"{digest}/layer.tar")
    return digest


def _add(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(body)
    tar.addfile(member, io.BytesIO(body))


def _member(name: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = 0o755
    return member
