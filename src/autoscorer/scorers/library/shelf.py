"""Contents on disk by their SHA-256: staged, then shelved in one rename, and never changed afterwards.

    objects/<sha256>/code/   the file, or the package folder        objects/<sha256>/cards.json
    staging/<any>/           the same, of a load under way

A lock on the folder itself says that somebody uses it; the kernel takes it back when he dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from autoscorer.schemas.scorer import ScorerCard
from autoscorer.scorers.host import Code
from autoscorer.scorers.library.sources import Content, read_source
from autoscorer.utils.artifacts import remove_tree, write_json
from autoscorer.utils.errors import AutoscorerError


class Shelf:
    """The folder of contents below ``root``, which is ours alone."""

    def __init__(self, root: Path) -> None:
        self._objects, self._staging = root / "objects", root / "staging"

    def make_folders(self) -> None:
        for folder in (self._objects, self._staging):
            folder.mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def staged(self, content: Content) -> Iterator[Path]:
        """A folder with a copy of ``content``, gone afterwards unless it was shelved.

        The store must be locked while this is entered: a sweep could take the folder for a dead one's.
        """
        folder = Path(tempfile.mkdtemp(dir=self._staging))
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Shared: the name it has later can be held by others while this load still ends.
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            for name, data in content.files.items():
                _write(folder / "code" / name, data)
            yield folder
        finally:
            remove_tree(folder)
            os.close(descriptor)

    def shelve(self, folder: Path, sha256: str, cards: Sequence[ScorerCard]) -> None:
        """Make the staged ``folder`` the content ``sha256``; one that is there already stays."""
        target = self._objects / sha256
        if self._is_whole(target, sha256):
            _write_cards(target, cards)  # what is said of it may be new, the code is not
            return
        remove_tree(target)
        _write_cards(folder, cards)
        folder.rename(target)

    def verify(self, sha256: str) -> None:
        """Raise AutoscorerError unless the content's bytes are still those of its name."""
        if not self._is_whole(self._objects / sha256, sha256):
            message = f"the stored copy of scorer content {sha256[:12]}… is damaged; load its file again"
            raise AutoscorerError("SCORER_NOT_FOUND", message, {"sha256": sha256}, cause="unloadable")

    def code(self, folder: Path) -> Code:
        """The code in a staged or shelved folder. Raises FileNotFoundError."""
        for path in (folder / "code").iterdir():
            return Code(path=path)
        raise FileNotFoundError(folder.name)

    def find(self, sha256: str) -> tuple[Code, list[ScorerCard]]:
        """The content ``sha256``. Raises FileNotFoundError."""
        folder = self._objects / sha256
        told = json.loads((folder / "cards.json").read_bytes())
        known = ScorerCard.model_fields.keys()  # another version of ours may have told more
        cards = [ScorerCard(**{key: card[key] for key in card.keys() & known}) for card in told]
        return self.code(folder), cards

    @contextmanager
    def held(self, sha256: str) -> Iterator[None]:
        """Nobody removes the content meanwhile. Raises FileNotFoundError if somebody has."""
        descriptor = os.open(self._objects / sha256, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.fstat(descriptor).st_ino != (self._objects / sha256).stat().st_ino:
                raise FileNotFoundError(sha256)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def seized(self, kept: set[str]) -> Iterator[set[str]]:
        """All contents but ``kept`` that nobody uses: whoever wants to use one now waits for the end."""
        with ExitStack() as stack:
            others = [path for path in self._objects.iterdir() if path.name not in kept]
            yield {path.name for path in others if stack.enter_context(_seized(path))}

    def remove(self, contents: set[str]) -> list[str]:
        """Remove contents that are seized, and what dead loads have staged; gives the hashes of the first.

        The store must be locked.
        """
        for sha256 in contents:
            self._remove(self._objects / sha256)
        for folder in self._staging.iterdir():
            with _seized(folder) as is_unused:
                if is_unused:
                    self._remove(folder)
        return sorted(contents)

    def _remove(self, folder: Path) -> None:
        # First out of its place: half a content must never stand under a content's name.
        doomed = self._staging / f"removed-{secrets.token_hex(8)}"
        folder.rename(doomed)
        remove_tree(doomed)

    def _is_whole(self, folder: Path, sha256: str) -> bool:
        try:
            path = self.code(folder).path
            return path is not None and read_source(path).sha256 == sha256
        except (OSError, AutoscorerError):
            return False


@contextmanager
def _seized(folder: Path) -> Iterator[bool]:
    """Whether nobody uses the folder; then nobody begins to before this ends."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False  # its load has just ended
        return
    try:
        yield _is_locked(descriptor)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    # One by one: with `parents` the folders between get the umask's mode, and could be open to others.
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700)
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o400)


def _write_cards(folder: Path, cards: Sequence[ScorerCard]) -> None:
    write_json(folder / "cards.json", [card.model_dump(mode="json") for card in cards])
