"""What a member of an archive may be called: relative, printable, of bounded length, unlike every other."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

MAX_DEPTH = 32
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024
_MOST_SHOWN = 120

Parts = tuple[str, ...]


class RefusedMemberError(ValueError):
    """A member that is not taken; ``member`` is its name as it can be shown, the text says why."""

    def __init__(self, name: str, why: str) -> None:
        self.member = shown(name)
        super().__init__(f"{self.member} {why}")


def shown(name: str) -> str:
    """A name as it can be shown anywhere: in quotes, what cannot be printed escaped, not too long."""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name[: _MOST_SHOWN + 1])
    return f"'{text if len(text) <= _MOST_SHOWN else f'{text[:_MOST_SHOWN]}...'}'"


def plain_parts(name: str) -> Parts:
    """The folders and the name of a member; none for the archive's own folder (`./`).

    A leading `./` and the slash behind a folder are how archives are written; nothing else is overlooked.
    Raises RefusedMemberError.
    """
    if name.startswith("/"):
        raise RefusedMemberError(name, "is an absolute path")
    if len(name.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        raise RefusedMemberError(name, f"has a path longer than {MAX_PATH_BYTES} bytes")
    parts = name.removesuffix("/").split("/")
    while parts and parts[0] == ".":
        del parts[0]
    if ".." in parts:
        raise RefusedMemberError(name, "leads out of the archive")
    if "" in parts or "." in parts:
        raise RefusedMemberError(name, "is not a plain path")
    if len(parts) > MAX_DEPTH:
        raise RefusedMemberError(name, f"is deeper than {MAX_DEPTH} folders")
    for part in parts:
        _check_part(name, part)
    return tuple(parts)


def _check_part(name: str, part: str) -> None:
    if not part.isprintable() or "\\" in part:
        raise RefusedMemberError(name, "has a character in its name that is not printable, or a backslash")
    if len(part.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise RefusedMemberError(name, f"has a name longer than {MAX_NAME_BYTES} bytes")


@dataclass
class Names:
    """The paths taken so far. No two may be one on any system: in another case, or composed otherwise."""

    _paths: dict[str, Parts] = field(default_factory=dict)
    _files: set[Parts] = field(default_factory=set)
    _listed: set[Parts] = field(default_factory=set)

    def __len__(self) -> int:
        """How many files and folders, with those that only stand in the path of others."""
        return len(self._paths)

    def add(self, name: str, parts: Parts, *, is_file: bool) -> tuple[Parts, ...]:
        """Take a member in; gives the folders that are new. Raises RefusedMemberError if it cannot stand."""
        if parts in self._listed:
            raise RefusedMemberError(name, "is there twice")
        new = [
            parts[:length] for length in range(1, len(parts) + 1) if not self._is_known(name, parts[:length])
        ]
        for path in (parts[:length] for length in range(1, len(parts))):
            if path in self._files:
                raise RefusedMemberError(name, "lies in a member that is a file")
        if is_file != (parts in self._files) and parts not in new:
            raise RefusedMemberError(name, "is a file as well as a folder")
        self._listed.add(parts)
        for path in new:
            self._paths[_key(path)] = path
        if is_file:
            self._files.add(parts)
            new.remove(parts)
        return tuple(new)

    def _is_known(self, name: str, path: Parts) -> bool:
        known = self._paths.get(_key(path))
        if known is not None and known != path:
            other = shown("/".join(known))
            why = f"differs from {other} only in case, or in how letters are composed"
            raise RefusedMemberError(name, why)
        return known is not None


def _key(path: Parts) -> str:
    """The same for all names that some file system takes for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", "/".join(path)).casefold())
