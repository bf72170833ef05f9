"""What an attack is, as data: a program, the verdict it must get, and the harm it would do without us."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.attacks.arena import Arena

BUSYBOX, PYTHON = "autoscorer-test/busybox:1", "autoscorer-test/python:3"
MIB = 2**20
TRUTH = "the-hidden-truth-4711"
WON = b"WON"
TOKEN = "ATTACK_TOKEN"  # a variable of every attack's container, to find its processes on the host


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What came of a program: with the platform around it, or with its naive stand-in.

    ``output`` is what was taken of its output; ``shown`` is what a person would be shown of its end;
    ``failed`` says how the taking itself failed, or is None.
    """

    log: bytes
    output: Path
    shown: str = ""
    failed: str | None = None
    alive: int = 0


Harm = Callable[[Seen], bool]


def won(seen: Seen) -> bool:
    """The program said itself that it got what it wanted."""
    return WON in seen.log


def leaks(seen: Seen) -> bool:
    """Something that the program may not read is in what was taken."""
    files = [path for path in seen.output.rglob("*") if path.is_file() and not path.is_symlink()]
    return any(TRUTH.encode() in path.read_bytes() for path in files if path.name != "result.json")


def takes(*parts: str) -> Harm:
    """A file of this name was taken."""
    return lambda seen: Path(seen.output, *parts).exists()


def lacks(*parts: str) -> Harm:
    """A file of this name was not taken."""
    return lambda seen: not Path(seen.output, *parts).exists()


def platform_fails(seen: Seen) -> bool:
    """Whoever takes the output crashes, hangs or never ends."""
    return seen.failed is not None


def log_larger_than(limit_bytes: int) -> Harm:
    """What is kept of the log takes more than this."""
    return lambda seen: len(seen.log) > limit_bytes


def shows_control_characters(seen: Seen) -> bool:
    """A terminal that prints what it is shown would obey the program."""
    return any(character in seen.shown for character in "\0\x07\x1b")


def still_alive(seen: Seen) -> bool:
    """A process of the program lives on after its end."""
    return seen.alive > 0


@dataclass(frozen=True, kw_only=True)
class Plain:
    """The guard off: a container as `docker run --network none` makes it, with these options.

    ``options`` are docker-py's, ``host_config`` the engine's own words for what docker-py does not know.
    ``one_mount``: the whole workspace is mounted, writable.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    host_config: Mapping[str, Any] = field(default_factory=dict)
    goal: int | None = None
    give_up_s: float = 60.0
    one_mount: bool = False


@dataclass(frozen=True, kw_only=True)
class Mended:
    """The same job without its fault succeeds: these changes of `meta.json` and settings mend it."""

    container: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


Control = Plain | Mended | Callable[["Arena", "Attack"], Seen]


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One attack. ``expected`` are the codes it may end with, None among them if it may succeed.

    ``goal`` is how far the program tries to go. ``image`` names an image, or a recipe of `images.py`
    when it starts with ``+``. A ``long`` attack is left out of `make test`.
    """

    name: str
    program: str
    expected: tuple[str | None, ...]
    control: Control
    harm: Harm = won
    blame: str = "participant"
    image: str = PYTHON
    goal: int = 0
    time_limit_s: int = 60
    resources: Mapping[str, Any] = field(default_factory=dict)
    container: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    long: bool = False

    @property
    def command(self) -> list[str]:
        return ["python", "-c", self.program] if self.image == PYTHON else ["sh", "-c", self.program]
