"""Image names: one normal form, matched exactly, and the operator's list of what may run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from autoscorer.utils.errors import AutoscorerError

HUB = "docker.io"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LIKE_AN_ID = re.compile(r"sha256|[0-9a-f]{64}")  # the engine would look for an image of that id
_LONGEST = 255


@dataclass(frozen=True)
class ImageName:
    """A name in full: ``busybox`` is ``docker.io`` + ``library/busybox`` + ``latest``.

    Exactly one of ``tag`` and ``digest`` is given; of a name with both the digest counts.
    """

    registry: str
    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """Raises ValueError for what no registry could hold, an image id among it."""
        rest, at, digest = text.partition("@")
        head, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag:  # no colon, or a port's
            head, tag = rest, "latest"
        registry, repository = _split(head)
        valid = (
            _REGISTRY.fullmatch(registry)
            and _REPOSITORY.fullmatch(repository)
            and len(registry) + 1 + len(repository) <= _LONGEST
            and _TAG.fullmatch(tag)
            and (not at or _DIGEST.fullmatch(digest))
            and not _LIKE_AN_ID.fullmatch(head)
        )
        if not valid:
            raise ValueError(f"{text!r} is no image name")
        return cls(registry, repository, None if at else tag, digest if at else None)

    @property
    def repo(self) -> str:
        """The repository as the engine writes it: Docker Hub's own without registry and ``library/``."""
        if self.registry != HUB:
            return f"{self.registry}/{self.repository}"
        return re.sub(r"^library/(?=[^/]+$)", "", self.repository)

    @property
    def version(self) -> str:
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        return f"{self.repo}@{self.digest}" if self.digest else f"{self.repo}:{self.tag}"

    @property
    def full(self) -> str:
        """With the registry always in it."""
        return f"{self.registry}/{self.repository}{'@' if self.digest else ':'}{self.version}"


def image_name(text: str) -> ImageName:
    """``container.image`` in full. Raises CONFIG_VALIDATION_ERROR for what is no image name."""
    try:
        return ImageName.parse(text)
    except ValueError as exc:
        raise AutoscorerError(
            "CONFIG_VALIDATION_ERROR",
            f"container.image: {text[:100]!r} is no image name.",
            {
                "field": "container.image",
                "expected": "[registry/]repository[:tag]",
                "example": "python:3.10-slim",
            },
            cause="job_spec",
        ) from exc


def _split(head: str) -> tuple[str, str]:
    """Registry and repository; by the engine's own rule the first part is a host if it looks like one."""
    first, slash, rest = head.partition("/")
    if not slash or not (re.search(r"[.:A-Z]", first) or first == "localhost"):
        first, rest = HUB, head
    if first in ("index.docker.io", HUB):
        return HUB, rest if "/" in rest else f"library/{rest}"
    return first, rest


def same_name(name: ImageName, given: Iterable[str]) -> bool:
    """Whether one of the names an engine or archive gives, normalised, is exactly ``name``."""
    return any(_parsed(text) == name for text in given)


def _parsed(text: str) -> ImageName | None:
    try:
        return ImageName.parse(text)
    except ValueError:
        return None


def is_listed(pattern_list: Iterable[str], *forms: str) -> bool:
    """Whether a pattern matches one of ``forms`` as a whole; ``*`` stands for any text, and only that.

    A pattern without ``*`` is a name and is normalised: ``python`` lists ``python:latest`` and no other.
    """
    return any(_matches(pattern, form) for pattern in pattern_list for form in forms)


def _matches(pattern: str, form: str) -> bool:
    if "*" in pattern:
        return _like(pattern.split("*"), form)
    named = _parsed(pattern)
    return form in ((str(named), named.full) if named else (pattern,))


def _like(parts: list[str], form: str) -> bool:
    """Whether ``form`` is the parts in order with any text between; linear, where a regex is exponential."""
    first, *middle, last = parts
    if not (form.startswith(first) and form.endswith(last) and len(form) >= len(first) + len(last)):
        return False
    rest = form[len(first) : len(form) - len(last)]
    for part in middle:
        _, found, rest = rest.partition(part) if part else ("", "*", rest)
        if not found:
            return False
    return True


def check_allowed(name: ImageName, allowlist: tuple[str, ...] | None) -> None:
    """Raise LIMIT_EXCEEDED unless the operator's list is absent or has this name."""
    if allowlist is None or is_listed(allowlist, str(name), name.full):
        return
    raise not_allowed(str(name), f"The image {name} is not one that the operator allows.")


def check_archive_allowed(image_id: str, allowlist: tuple[str, ...] | None) -> None:
    """Raise LIMIT_EXCEEDED unless the list is absent or has this image id (``sha256:…``, ``sha256:*``).

    The name an archive gives itself proves nothing, so it is the content that must be listed.
    """
    if allowlist is None or is_listed(allowlist, image_id):
        return
    raise not_allowed(image_id, "The operator's list of images does not have the content of the archive.")


def not_allowed(asked: str, message: str) -> AutoscorerError:
    excess = [{"field": "container.image", "asked": asked, "setting": "IMAGE_ALLOWLIST"}]
    return AutoscorerError("LIMIT_EXCEEDED", message, {"field": "container.image", "excess": excess})
