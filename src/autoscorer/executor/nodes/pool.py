"""The nodes of one process: what is known of each, and a seat for a job on the best."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from autoscorer.executor.nodes.breaker import Breaker
from autoscorer.executor.nodes.ranking import Candidate, Health, Load, Refusal, Running, busy, ranked, unfit
from autoscorer.utils.config import Node
from autoscorer.utils.errors import AutoscorerError

_NODE_FAULTS = {"CONTAINER_CREATE_FAILED", "CONTAINER_WAIT_FAILED", "EXEC_ERROR"}
_NODE_SETTINGS = {"DOCKER_TRANSPORT", "DOCKER_HELPER_IMAGE"}  # what is wrong with them is so at that node


def is_nodes_fault(error: BaseException | None) -> bool:
    """Whether a job failed by its node: never by what a participant did.

    That an engine refuses to start a participant's container may be that image's doing, so it does not count.
    """
    if not isinstance(error, AutoscorerError) or error.details.get("refused_start"):
        return False
    if error.code == "RESOURCE_UNAVAILABLE":
        return error.cause == "engine" or error.details.get("setting") in _NODE_SETTINGS
    return error.code in _NODE_FAULTS


class Seat:
    """A job's place on a node, from when it was chosen until `leave`."""

    def __init__(self, pool: NodePool, node: Node, breaker: Breaker, gpus: int) -> None:
        self.node = node
        self.gpus = gpus
        self._pool = pool
        self._breaker = breaker
        self._is_trial = breaker.enter()

    def began(self) -> None:
        """Its container runs: from now on whoever asks the engine sees it."""
        if self._is_trial:
            self._breaker.began()
        self._pool.forget(self)

    def leave(self, error: BaseException | None) -> None:
        """The job is over there, by ``error`` or well."""
        self._pool.forget(self)
        if is_nodes_fault(error):
            self._breaker.failed(str(getattr(error, "code", "")))
        elif error is None or getattr(error, "blame", "") == "participant":
            self._breaker.succeeded()
        elif self._is_trial:
            self._breaker.left()


class NodePool:
    """Safe to use from several threads; what has been placed and cannot be seen yet counts as running.

    ``load`` and ``health`` are asked for each job; ``selector`` are labels that a node must have.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        load: Load,
        health: Health,
        selector: Mapping[str, str] | None = None,
        make_breaker: Callable[[], Breaker] = Breaker,
    ) -> None:
        self.nodes = tuple(nodes)
        self._load = load
        self._health = health
        self._selector = selector or {}
        self._breakers = {node.name: make_breaker() for node in nodes}
        self._placing = threading.Lock()
        self._unseen_lock = threading.Lock()
        self._unseen: list[Seat] = []

    def place(self, *, gpus: int, but: Collection[str] = ()) -> Seat | list[Refusal]:
        """A seat on the best node, or why each has none. ``but``: names of nodes that failed this job."""
        with self._placing:  # else two jobs would take the same GPUs
            refusals: list[Refusal] = []
            best = ranked(self._candidates(gpus, but, refusals))
            if not best:
                return refusals
            node = best[0].node
            seat = Seat(self, node, self._breakers[node.name], gpus)
            with self._unseen_lock:
                self._unseen.append(seat)
            return seat

    def forget(self, seat: Seat) -> None:
        """It no longer counts besides what the engine tells. Safe to call twice."""
        with self._unseen_lock:
            self._unseen = [other for other in self._unseen if other is not seat]

    def _candidates(self, gpus: int, but: Collection[str], refusals: list[Refusal]) -> Iterator[Candidate]:
        for order, node in enumerate(self.nodes):
            if node.name in but:
                refusals.append(Refusal(node=node.name, why="it has just failed this job"))
                continue
            found = unfit(node, gpus=gpus, selector=self._selector) or self._look(node, order)
            if isinstance(found, Candidate):
                refused = busy(found, gpus=gpus)
                if refused is None:
                    yield found
                    continue
                found = refused
            refusals.append(found)

    def _look(self, node: Node, order: int) -> Candidate | Refusal:
        breaker = self._breakers[node.name]
        if why := breaker.refusal():
            return Refusal(node=node.name, why=why, passes=True)
        try:
            why = self._health(node)
            running = self._load(node) if why is None else Running()
        except AutoscorerError as exc:
            why = str(exc.details.get("reason") or exc.message)
        if why is not None:
            breaker.enter()
            breaker.failed(why)
            return Refusal(node=node.name, why=why)
        with self._unseen_lock:
            unseen = [seat for seat in self._unseen if seat.node.name == node.name]
        jobs, taken = running.jobs + len(unseen), running.gpus + sum(seat.gpus for seat in unseen)
        return Candidate(node=node, order=order, running=Running(jobs=jobs, gpus=taken))
