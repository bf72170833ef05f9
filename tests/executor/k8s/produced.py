"""Which rows of the table of verdicts a real cluster produces in a test, which a test only writes down."""

from __future__ import annotations

from dataclasses import dataclass, field

from autoscorer.executor.k8s import verdicts
from autoscorer.executor.k8s.pod_facts import PodFacts
from autoscorer.executor.k8s.verdicts import Verdict

SCRIPTED = "test_verdicts.py"
EXECUTOR, VERDICTS, NODE = "test_k8s_executor.py", "test_k8s_verdicts.py", "test_k8s_node.py"
PRODUCED = {
    "evicted: its own volumes, log or output beyond its limit": VERDICTS,
    # Requests are limits: who is beyond its request has met its limit before the node runs short.
    "evicted: the node short of memory, the pod beyond its request": SCRIPTED,
    # Told that it has too few inodes, a kubelet of 1.20 says "The node had condition: [DiskPressure]".
    "evicted: the node short of process ids or inodes, which nobody counts for a pod": SCRIPTED,
    "evicted for any other reason": NODE,
    "past the deadline of its pod, the program running": VERDICTS,
    "past the deadline of its pod, the program never started": VERDICTS,
    # Conditions came with 1.25; what 1.20 does instead is the next row, and real.
    "a disruption the cluster names: preempted, drained, tainted, a lost or shut-down node": SCRIPTED,
    "deleted, and not by us: by hand, or drained by an older cluster": NODE,
    "the sidecar found too much output": EXECUTOR,
    # A kubelet that does not keep the order of the containers.
    "the program could not start because its data were not there": SCRIPTED,
    "the program could not start because its folders are not on the volume the node mounts": SCRIPTED,
    "the program ended, whatever its code, also by a start that failed": EXECUTOR,
    "the sidecar ended while the program ran": VERDICTS,
    "the sidecar ended before the program began": EXECUTOR,
    "the sidecar's image cannot be had": VERDICTS,
    "InvalidImageName": VERDICTS,
    "ErrImageNeverPull: not on the node, and not to be pulled": EXECUTOR,
    "pulling failed: an image for another platform, or none at all": VERDICTS,
    "pulling failed: the registry unwell, out of reach or busy, the node's disk full": VERDICTS,
    "pulling failed: no such image, or no access to it": VERDICTS,
    "pulling failed and nobody says why": VERDICTS,
    "CreateContainerConfigError: what the pod refers to is not there": SCRIPTED,
    "the runtime cannot make the container, by a fault that may pass": SCRIPTED,
    "the runtime cannot make the container from this image (the sidecar's it could)": VERDICTS,
    "the program's hook or start is tried again and again": SCRIPTED,
    "the pod is over and nothing is said of the program": SCRIPTED,
}


@dataclass
class Judged:
    """Which rows matched, in their order, as a vigil asked."""

    rows: list[str] = field(default_factory=list)

    def judge(self, facts: PodFacts) -> Verdict | None:
        found = verdicts.judge(facts)
        self.rows += [next(row.when for row in verdicts.TABLE if row.matches(facts))] if found else []
        return found

    @property
    def last(self) -> str:
        return self.rows[-1] if self.rows else ""
