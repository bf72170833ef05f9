"""Which node gets a job: pure functions from what is known of each to an order, or to why none can."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from autoscorer.utils.config import Node
from autoscorer.utils.errors import AutoscorerError


@dataclass(frozen=True, kw_only=True)
class Running:
    """What runs on a node: our jobs, whoever started them, and the GPUs that they were given."""

    jobs: int = 0
    gpus: int = 0


class Load(Protocol):
    """How busy a node is."""

    def __call__(self, node: Node, /) -> Running:
        """What runs there now. Raises AutoscorerError when that cannot be told."""


class Health(Protocol):
    """Whether a node can take a job."""

    def __call__(self, node: Node, /) -> str | None:
        """Why no job is to go there now; None if one may. To be answered within two seconds."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A node that answers. ``order`` is its place in NODES."""

    node: Node
    order: int
    running: Running

    @property
    def free_gpus(self) -> int:
        return max(0, self.node.gpus - self.running.gpus)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a node does not get the job. ``passes``: it may, when jobs end there or its time alone is over."""

    node: str
    why: str
    passes: bool = False


def unfit(node: Node, *, gpus: int, selector: Mapping[str, str]) -> Refusal | None:
    """Why the node can never run a job with so many GPUs; None if it can."""
    for label, value in selector.items():
        if node.labels.get(label) != value:
            return Refusal(node=node.name, why=f"its label {label} is not {value}")
    if gpus > node.gpus:
        return Refusal(node=node.name, why=f"it has {node.gpus} GPUs")
    return None


def busy(candidate: Candidate, *, gpus: int) -> Refusal | None:
    """Why it cannot run the job now; None if it can."""
    if gpus <= candidate.free_gpus:
        return None
    why = f"{candidate.free_gpus} of its {candidate.node.gpus} GPUs are free"
    return Refusal(node=candidate.node.name, why=why, passes=True)


def ranked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The best first: most free GPUs, then fewest jobs, then as they stand in NODES."""
    return sorted(candidates, key=lambda row: (-row.free_gpus, row.running.jobs, row.order))


def nothing_fits(refusals: Sequence[Refusal], *, gpus: int) -> AutoscorerError:
    """The error of a job that no node takes; its details name each node and why."""
    reasons = {row.node: row.why for row in refusals}
    told = "; ".join(f"{name}: {why}" for name, why in reasons.items())
    asked = f" with {gpus} GPUs" if gpus else ""
    return AutoscorerError(
        "RESOURCE_UNAVAILABLE",
        f"No node can take a job{asked} now ({told}).",
        {"nodes": reasons, "asked_gpus": gpus, "setting": "NODES"},
        cause="nodes",
    )
