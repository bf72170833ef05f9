"""The harvest's second source: a hostile folder as a tar stream, taken under the same policy as `harvest`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autoscorer.harvest import RESERVED, Harvest, HarvestPolicy, Taking
from autoscorer.unpacking.tar_stream import BrokenArchiveError, CutOffError, Kind, Member, Readable, TarStream

_ODD = {
    Kind.SYMLINK: "is a symbolic link; only regular files are taken",
    Kind.HARDLINK: "has further hard links",
    Kind.SPECIAL: "is a pipe or a device; only regular files are taken",
}


def harvest_stream(source: Readable, target: Path, policy: HarvestPolicy) -> Harvest:
    """Write the regular files of the archive of a folder into the new folder ``target``.

    Names stand below the folder (``./a/b``), each after the folder it lies in. Raises AutoscorerError as
    `harvest.harvest` does, OUTPUT_INVALID for an archive that is broken too; CutOffError for one that ends
    too early, which only whoever knows where it comes from can judge; and what ``source`` raises.
    """
    target.mkdir(mode=0o755)
    reading = _Reading(policy)
    stream = TarStream(source)
    folders: set[tuple[str, ...]] = {()}
    try:
        for member in stream:
            reading.check_time()
            path = reading.path_of(member)
            if not path:
                continue
            reading.count_entry()
            if path[0] in RESERVED:
                reading.leave_behind(path, stream.chunks())
                continue
            reading.check(path, member)
            if path[:-1] not in folders:
                reading.refuse(path, "stands in the archive before its folder")
            reading.take(path, member, stream.chunks(), target, folders)
        if not stream.ended_by_mark:
            raise CutOffError("it ends before its end")
    except CutOffError:
        raise
    except BrokenArchiveError as exc:
        reading.refuse((), f"could not be read: {exc}")
    return reading.taken


class _Reading(Taking):
    """One harvest of a stream."""

    _left_bytes = 0

    def path_of(self, member: Member) -> tuple[str, ...]:
        """The parts of its name below the folder; raises OUTPUT_INVALID for one that leads elsewhere."""
        parts = member.name.removeprefix("./").rstrip("/").split("/")
        if parts in ([""], ["."]):
            return ()
        if any(part in ("", ".", "..") for part in parts):
            self.refuse(parts, "has a name that leads elsewhere")
        return tuple(parts)

    def count_entry(self) -> None:
        self.entries += 1
        if self.entries > self.policy.max_entries:
            self.too_much("entries", self.policy.max_entries)

    def leave_behind(self, path: tuple[str, ...], chunks: Iterator[bytes]) -> None:
        """Pass over what has a name of the platform's, whatever it is, but not for ever."""
        if len(path) == 1:
            self.taken.reserved.append(path[0])
        for chunk in chunks:
            self._left_bytes += len(chunk)
            if self._left_bytes > self.policy.max_bytes:
                self.too_much("bytes", self.policy.max_bytes)
            self.check_time()

    def check(self, path: tuple[str, ...], member: Member) -> None:
        self.check_name(path)
        if member.kind in _ODD:
            self.refuse(path, _ODD[member.kind])
        self.check_mode(path, member.mode, folder=member.kind is Kind.FOLDER)
        self.check_size(member.size_bytes)

    def take(
        self,
        path: tuple[str, ...],
        member: Member,
        chunks: Iterator[bytes],
        target: Path,
        folders: set[tuple[str, ...]],
    ) -> None:
        place = target.joinpath(*path)
        try:
            if member.kind is Kind.FOLDER:
                place.mkdir(mode=0o755)
                folders.add(path)
            else:
                self.store(path, chunks, place)
        except FileExistsError:
            self.refuse(path, "stands in the archive twice")
