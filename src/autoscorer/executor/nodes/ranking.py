"""Which node gets a job: pure functions from what is known of each to an order, or to why none can."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from autoscorer.utils.config import Node
from autoscorer.utils.errors import AutoscorerError


@dataclass(frozen=True, kw_only=True)
class Running:
    """What runs on a node: our jobs, whoever started them, and the GPUs that they were given.

    ``attempts`` are the folders of those jobs' attempts, as far as known: a job of this process that is named
    here is not counted a second time.
    """

    jobs: int = 0
    gpus: int = 0
    attempts: frozenset[str] = frozenset()


class Load(Protocol):
    """How busy a node is."""

    def __call__(self, node: Node, /) -> Running:
        """What runs there now. Raises AutoscorerError when that cannot be told."""


class Health(Protocol):
    """Whether a node can take a job."""

    def __call__(self, node: Node, /) -> str | None:
        """Why no job is to go there now; None if one may. To be answered within two seconds."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a job asks for. ``number`` grows with when it came; ``attempt`` is its attempt's folder.

    ``failed`` are the nodes that could not take it, and why.
    """

    number: int
    gpus: int
    attempt: str
    failed: dict[str, AutoscorerError] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A node that answers. ``order`` is its place in NODES, ``kept_gpus`` wait for jobs that came earlier."""

    node: Node
    order: int
    running: Running
    kept_gpus: int = 0

    @property
    def free_gpus(self) -> int:
        return max(0, self.node.gpus - self.running.gpus - self.kept_gpus)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a node does not get the job. ``passes``: it may, when jobs end there or its time alone is over."""

    node: str
    why: str
    passes: bool = False


def unfit(node: Node, request: Request, *, selector: Mapping[str, str]) -> Refusal | None:
    """Why the node can never run the job; None if it can."""
    for label, value in selector.items():
        if node.labels.get(label) != value:
            return Refusal(node=node.name, why=f"its label {label} is not {value}")
    if request.gpus > node.gpus:
        return Refusal(node=node.name, why=f"it has {node.gpus} GPUs")
    if (error := request.failed.get(node.name)) is not None:
        return Refusal(node=node.name, why=f"it could not take this job: {error.code}, {error.message}")
    return None


def set_aside(candidates: Iterable[Candidate], earlier: Iterable[Request]) -> list[Candidate]:
    """The candidates less the GPUs that are kept for jobs which wait longer: first come, first served.

    Each has one node kept, of those that can run it the one with most GPUs free: there it will begin first.
    Of this process no later job takes any there, so what is free only grows and none waits for ever.
    """
    left = {row.node.name: row for row in candidates}
    for request in sorted(earlier, key=lambda row: row.number):
        fit = [row for row in left.values() if unfit(row.node, request, selector={}) is None]
        if request.gpus and fit:
            best = ranked(fit)[0]
            left[best.node.name] = replace(best, kept_gpus=best.kept_gpus + request.gpus)
    return [*left.values()]


def busy(candidate: Candidate, *, gpus: int) -> Refusal | None:
    """Why it cannot run the job now; None if it can."""
    if gpus <= candidate.free_gpus:
        return None
    why = f"{candidate.free_gpus} of its {candidate.node.gpus} GPUs are free"
    if candidate.kept_gpus:
        why += ", the others taken or kept for jobs that came earlier"
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
