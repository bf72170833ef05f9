"""What became of a pod, read from what the cluster says of it: a table, first match wins.

Whose fault it is may never hang on something a program can bring about by itself. A program can choose its
exit code, kill itself, fill its volumes, its log and its memory, run out of process ids and name any image;
it cannot delete its pod, set a condition or write what the cluster says of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from autoscorer.executor.base import StopReason
from autoscorer.executor.k8s.naming import MAIN
from autoscorer.executor.k8s.pod_facts import PodFacts
from autoscorer.executor.streaming import scripts


class Means(StrEnum):
    """What a row of the table comes to."""

    EXITED = "exited"
    STOPPED = "stopped"
    GAP = "gap"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a row makes of a pod. ``code`` and ``cause`` for `Means.ERROR`, ``stop`` for `Means.STOPPED`.

    ``after_s``: only if it has been so for that long, for it may pass by itself.
    """

    means: Means
    text: str = ""
    code: str = ""
    cause: str = ""
    stop: StopReason | None = None
    after_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: ``when`` is what is seen, in two languages; ``matches`` says whether it is."""

    when: str
    when_zh: str
    matches: Callable[[PodFacts], bool]
    verdict: Verdict


def judge(facts: PodFacts) -> Verdict | None:
    """The first row that matches; None while all is well and goes on."""
    found = next((row.verdict for row in TABLE if row.matches(facts)), None)
    if found is None or found.text:
        return found
    return Verdict(**{**found.__dict__, "text": _said(facts)})


def _said(facts: PodFacts) -> str:
    reason, message = facts.waiting
    said = message or reason or facts.unschedulable or facts.message or facts.reason or facts.disruption
    said = said or _start_message(facts)
    return said[:500]


# --- what a program did


def _evicted(facts: PodFacts) -> bool:
    return facts.reason == "Evicted"


_OWN = re.compile(
    r"^(Pod ephemeral local storage usage exceeds|Usage of EmptyDir volume|"
    r"Container \S+ exceeded its local ephemeral storage limit)"
)
# A node that ran short names what the pod had beyond its request, and ours is its limit.
_BEYOND_REQUEST = re.compile(rf"[Cc]ontainer {MAIN} was using \S+, (which exceeds its request|request is)")
_PIDS_OR_INODES = re.compile(r"low on resource: (pids|inodes)")


def _own_storage(facts: PodFacts) -> bool:
    if not _evicted(facts):
        return False
    short_of_disk = "ephemeral-storage" in facts.message and _BEYOND_REQUEST.search(facts.message)
    return bool(_OWN.search(facts.message) or short_of_disk)


def _own_memory(facts: PodFacts) -> bool:
    return _evicted(facts) and "memory" in facts.message and bool(_BEYOND_REQUEST.search(facts.message))


def _sidecar_code(*codes: int) -> Callable[[PodFacts], bool]:
    def matches(facts: PodFacts) -> bool:
        return (facts.sidecar.get("terminated") or {}).get("exitCode") in codes

    return matches


def _sidecar_ended(facts: PodFacts) -> bool:
    """While the program ran: something it did to the pod or to its output. Before, it was not there."""
    return "terminated" in facts.sidecar and facts.began


def _start_failed(facts: PodFacts) -> bool:
    ended = facts.ended
    return ended is not None and ended.get("reason") in _START_FAILURES


def _start_message(facts: PodFacts) -> str:
    return str((facts.ended or {}).get("message", ""))


_START_FAILURES = ("ContainerCannotRun", "StartError")

# --- images

_NO_SUCH_IMAGE = re.compile(
    r"not found|manifest unknown|no such manifest|does not exist|denied|unauthorized|authentication required|"
    r"forbidden|no basic auth",
    re.IGNORECASE,
)
_UNWELL = re.compile(
    r"toomanyrequests|too many requests|429|timeout|timed out|connection (refused|reset)|no such host|"
    r"EOF|\b50[0-4]\b|tls:|x509|no space left|network is unreachable|temporary failure|unavailable",
    re.IGNORECASE,
)
_WRONG_IMAGE = re.compile(
    r"no matching manifest|no match for platform|unsupported (media|schema)|invalid (tar|manifest)"
)
_PULLING = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError")


def _quiet_of_names(message: str) -> str:
    """A message without what is quoted or looks like an image's name: a participant chooses those."""
    unquoted = re.sub(r"\"[^\"]*\"", " ", message.replace('\\"', '"'))
    return re.sub(r"\S*[/@]\S*", " ", unquoted)


def _pull(pattern: re.Pattern[str]) -> Callable[[PodFacts], bool]:
    def matches(facts: PodFacts) -> bool:
        reason, message = facts.waiting
        return reason in _PULLING and bool(pattern.search(_quiet_of_names(message)))

    return matches


def _sidecar_image(facts: PodFacts) -> bool:
    reason = (facts.sidecar.get("waiting") or {}).get("reason")
    return reason in (*_PULLING, "ErrImageNeverPull", "InvalidImageName")


def _waits_for(*reasons: str) -> Callable[[PodFacts], bool]:
    return lambda facts: facts.waiting[0] in reasons


_CREATE = ("CreateContainerError", "RunContainerError", "CreatePodSandboxError")
_PASSES = re.compile(r"deadline exceeded|already in use|no space left|connection refused|is reserved for")

# --- what the cluster did

_NODE_REASONS = (
    *(
        "NodeLost",
        "Shutdown",
        "Terminated",
        "NodeShutdown",
        "Preempting",
        "NodeAffinity",
        "MatchNodeSelector",
    ),
    *("OutOfcpu", "OutOfmemory", "OutOfpods", "OutOfephemeral-storage", "OutOfnvidia.com/gpu"),
    *("UnexpectedAdmissionError", "TopologyAffinityError"),
)


def _disrupted(facts: PodFacts) -> bool:
    return bool(facts.disruption) or facts.reason in _NODE_REASONS or facts.phase == "Unknown"


def _error(code: str, cause: str = "", *, text: str = "", after_s: float = 0.0) -> Verdict:
    return Verdict(means=Means.ERROR, code=code, cause=cause, text=text, after_s=after_s)


def _stopped(stop: StopReason) -> Verdict:
    return Verdict(means=Means.STOPPED, stop=stop)


_EXITED = Verdict(means=Means.EXITED, text="the program ended")
_GAP = Verdict(means=Means.GAP)
BACK_OFF_S = 45.0
"""How long a registry may be unwell, or a start may fail, before the job does."""

TABLE: tuple[Row, ...] = (
    Row(
        when="evicted: its own volumes, log or output beyond its limit",
        when_zh="被驱逐：自身的卷、日志或输出超出上限",
        matches=_own_storage,
        verdict=_stopped(StopReason.OUTPUT_LIMIT),
    ),
    Row(
        when="evicted: the node short of memory, the pod beyond its request",
        when_zh="被驱逐：节点内存不足，且该 Pod 超出其请求量",
        matches=_own_memory,
        verdict=_stopped(StopReason.MEMORY_LIMIT),
    ),
    Row(
        when="evicted: the node short of process ids or inodes, which nobody counts for a pod",
        when_zh="被驱逐：节点的进程号或 inode 不足（无法按 Pod 计量）",
        matches=lambda facts: _evicted(facts) and bool(_PIDS_OR_INODES.search(facts.message)),
        verdict=_error("RESOURCE_UNAVAILABLE"),
    ),
    Row(
        when="evicted for any other reason",
        when_zh="因其他原因被驱逐",
        matches=_evicted,
        verdict=_GAP,
    ),
    Row(
        when="past the deadline of its pod, the program running",
        when_zh="超过 Pod 的期限，程序正在运行",
        matches=lambda facts: (
            facts.reason == "DeadlineExceeded" and bool(facts.main.keys() & {"running", "terminated"})
        ),
        verdict=_stopped(StopReason.TIME_LIMIT),
    ),
    Row(
        when="past the deadline of its pod, the program never started",
        when_zh="超过 Pod 的期限，程序从未启动",
        matches=lambda facts: facts.reason == "DeadlineExceeded",
        verdict=_error("RESOURCE_UNAVAILABLE"),
    ),
    Row(
        when="a disruption the cluster names: preempted, drained, tainted, a lost or shut-down node",
        when_zh="集群指明的中断：被抢占、排空、污点、节点丢失或关机",
        matches=lambda facts: (
            bool(facts.disruption) or facts.reason in _NODE_REASONS or facts.phase == "Unknown"
        ),
        verdict=_GAP,
    ),
    Row(
        when="deleted, and not by us: by hand, or drained by an older cluster",
        when_zh="被删除，且非本系统所为：人工删除，或被旧版集群排空",
        matches=lambda facts: facts.deleted or facts.gone,
        verdict=Verdict(means=Means.GAP, text="the pod was deleted by somebody else"),
    ),
    Row(
        when="the sidecar found too much output",
        when_zh="辅助容器发现输出过多",
        matches=_sidecar_code(scripts.OVER_BYTES, scripts.OVER_ENTRIES, scripts.OVER_DEPTH),
        verdict=_stopped(StopReason.OUTPUT_LIMIT),
    ),
    Row(
        when="the sidecar's image cannot be had",
        when_zh="无法取得辅助容器的镜像",
        matches=_sidecar_image,
        verdict=_error("RESOURCE_UNAVAILABLE", after_s=BACK_OFF_S),
    ),
    Row(
        when="the program could not start because its data were not there",
        when_zh="程序因数据未到位而无法启动",
        matches=lambda facts: _start_failed(facts) and not facts.staged,
        verdict=Verdict(means=Means.GAP, text="the data had not been brought in"),
    ),
    Row(
        when="the program could not start because its folders are not on the volume the node mounts",
        when_zh="程序因其目录不在节点挂载的卷上而无法启动",
        matches=lambda facts: _start_failed(facts) and "read-only file system" in _start_message(facts),
        verdict=_error("RESOURCE_UNAVAILABLE"),
    ),
    Row(
        when="the program ended, whatever its code, also by a start that failed",
        when_zh="程序已结束，无论退出码为何，包括启动失败",
        matches=lambda facts: facts.ended is not None,
        verdict=_EXITED,
    ),
    Row(
        when="the sidecar ended while the program ran",
        when_zh="程序运行期间辅助容器结束",
        matches=_sidecar_ended,
        verdict=_error(
            "OUTPUT_INVALID", text="The output could not be watched: the program left no room for it."
        ),
    ),
    Row(
        when="the sidecar ended before the program began",
        when_zh="程序开始之前辅助容器结束",
        matches=lambda facts: "terminated" in facts.sidecar,
        verdict=Verdict(means=Means.GAP, text="the sidecar container ended"),
    ),
    Row(
        when="InvalidImageName",
        when_zh="InvalidImageName：镜像名无效",
        matches=_waits_for("InvalidImageName"),
        verdict=_error("IMAGE_INVALID"),
    ),
    Row(
        when="ErrImageNeverPull: not on the node, and not to be pulled",
        when_zh="ErrImageNeverPull：节点上没有该镜像，且不允许拉取",
        matches=_waits_for("ErrImageNeverPull"),
        verdict=_error("IMAGE_NOT_PRESENT"),
    ),
    Row(
        when="pulling failed: an image for another platform, or none at all",
        when_zh="拉取失败：镜像属于其他平台，或根本不是镜像",
        matches=_pull(_WRONG_IMAGE),
        verdict=_error("IMAGE_INVALID"),
    ),
    Row(
        when="pulling failed: the registry unwell, out of reach or busy, the node's disk full",
        when_zh="拉取失败：镜像仓库异常、不可达或繁忙，或节点磁盘已满",
        matches=_pull(_UNWELL),
        verdict=_error("IMAGE_PULL_FAILED", "network", after_s=BACK_OFF_S),
    ),
    Row(
        when="pulling failed: no such image, or no access to it",
        when_zh="拉取失败：镜像不存在或无权访问",
        matches=_pull(_NO_SUCH_IMAGE),
        verdict=_error("IMAGE_PULL_FAILED", "denied"),
    ),
    Row(
        when="pulling failed and nobody says why",
        when_zh="拉取失败且没有说明原因",
        matches=_waits_for(*_PULLING),
        verdict=_error("IMAGE_PULL_FAILED", "network", after_s=BACK_OFF_S),
    ),
    Row(
        when="CreateContainerConfigError: what the pod refers to is not there",
        when_zh="CreateContainerConfigError：Pod 引用的对象不存在",
        matches=_waits_for("CreateContainerConfigError"),
        verdict=_error("CONTAINER_CREATE_FAILED", after_s=BACK_OFF_S),
    ),
    Row(
        when="the runtime cannot make the container, by a fault that may pass",
        when_zh="运行时无法创建容器，属可能自行恢复的故障",
        matches=lambda facts: facts.waiting[0] in _CREATE and bool(_PASSES.search(facts.waiting[1])),
        verdict=_error("CONTAINER_CREATE_FAILED", after_s=BACK_OFF_S),
    ),
    Row(
        when="the runtime cannot make the container from this image (the sidecar's it could)",
        when_zh="运行时无法用此镜像创建容器（辅助容器可以）",
        matches=lambda facts: facts.waiting[0] in ("CreateContainerError", "RunContainerError"),
        verdict=_error("IMAGE_INVALID", after_s=5.0),
    ),
    Row(
        when="the program's hook or start is tried again and again",
        when_zh="程序的钩子或启动被反复重试",
        matches=_waits_for("PostStartHookError", "CrashLoopBackOff"),
        verdict=_error("CONTAINER_CREATE_FAILED"),
    ),
    Row(
        when="the pod is over and nothing is said of the program",
        when_zh="Pod 已结束，而集群对程序没有任何说明",
        matches=lambda facts: facts.phase in ("Failed", "Succeeded"),
        verdict=_GAP,
    ),
)


def unstarted(facts: PodFacts | None, refusals: tuple[str, ...]) -> Verdict:
    """Why a pod has not started within the time it had. ``refusals``: why the cluster makes no pod."""
    if facts is None:
        said = refusals[-1] if refusals else "the cluster has made no pod for the Job"
        return _error("RESOURCE_UNAVAILABLE", text=said[:500])
    if not facts.scheduled:
        said = facts.unschedulable or "no node was found for the pod"
        if refusals:
            said = f"{said} ({refusals[-1]}; see K8S_STORAGE_CLASS)"
        return _error("RESOURCE_UNAVAILABLE", text=said[:500])
    reason, message = facts.waiting
    said = message or reason or "its containers were not started in time"
    return _error("RESOURCE_UNAVAILABLE", text=said[:500])


_NEVER_BY_ITSELF = re.compile(
    r"violates PodSecurity|serviceaccount .* not found|admission webhook|Invalid value|"
    r"is forbidden: (?!exceeded quota)|storageclass\S* .* not found"
)


def refused_for_good(message: str) -> bool:
    """Whether a cluster that makes no pod for a Job, for this reason, will never make one."""
    return bool(_NEVER_BY_ITSELF.search(message)) and "exceeded quota" not in message
