"""What a cluster lets us do, offers and enforces: asked, and tried with a job and three small pods."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoscorer.confine import properties
from autoscorer.confine.probes import Diagnosis, Probe, told
from autoscorer.executor.base import AttemptPlan, Limits, RunOutcome
from autoscorer.executor.failures import verdict
from autoscorer.executor.k8s.client import Cluster, RefusedError, UnreachableError, cluster_errors, connect
from autoscorer.executor.k8s.isolation import PROCESS_LIMIT, VOLUMES
from autoscorer.executor.k8s.jobs import ensure_policy
from autoscorer.executor.k8s.manifest import GPU, USER
from autoscorer.executor.k8s.naming import LABEL_NETWORK, MANAGED_BY, OURS
from autoscorer.executor.k8s_executor import K8sExecutor
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError

NEEDED = (
    *(("batch", "jobs", "", verb) for verb in ("create", "get", "list", "patch", "delete")),
    *(("", "pods", "", verb) for verb in ("get", "list", "watch", "delete")),
    ("", "pods", "log", "get"),
    ("", "pods", "exec", "create"),
    ("", "pods", "exec", "get"),
    ("networking.k8s.io", "networkpolicies", "", "get"),
)
FOR_VOLUMES = tuple(("", "persistentvolumeclaims", "", verb) for verb in ("create", "get", "delete"))
USEFUL = (
    ("", "events", "", "list"),
    ("", "pods", "", "create"),  # to try the network
    ("networking.k8s.io", "networkpolicies", "", "create"),
)
NETWORK = "NetworkPolicy is enforced"
START_S = 60.0
PORT = 8080
_LOOK_INSIDE = r"""
say() { echo "$1=$2" >> output/found; }
say uid "$(id -u)"
for field in CapEff NoNewPrivs Seccomp; do
  say $field "$(sed -n "s/^$field:[[:space:]]*//p" /proc/self/status)"
done
(: > /.probe) 2>/dev/null && say wrote / ; (: > input/.probe) 2>/dev/null && say wrote input
[ -e /var/run/secrets/kubernetes.io ] && say token yes
say pids "$(cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null | head -n 1)"
"""
_MEANING = {
    properties.DISK: "output is measured about once a second; a file written and unlinked counts late",
    PROCESS_LIMIT: "set podPidsLimit in the kubelet's configuration, on every node that runs jobs",
    VOLUMES: "folders that an image declares as volumes may lie on the node's disk",
}


def diagnose_cluster(settings: Settings) -> Diagnosis:
    """Raises RESOURCE_UNAVAILABLE when the cluster does not answer."""
    with connect(settings) as cluster:
        with cluster_errors("asking the cluster about itself"):
            version = str(cluster.call("GET", "/version", budget_s=0.0).get("gitVersion", ""))
        probes, advice = [], []
        needed = (*NEEDED, *FOR_VOLUMES) if settings.k8s_storage_class else NEEDED
        missing = [_named(row) for row in needed if not _may(cluster, *row)]
        probes.append(told("permissions", f"{len(needed)} of them", ", ".join(missing)))
        if missing:
            advice.append(f"grant in namespace {cluster.namespace}: {', '.join(missing)}")
        advice += [f"useful too: {_named(row)}" for row in USEFUL if not _may(cluster, *row)]
        if not missing:
            found, more = _tried(cluster, settings)
            probes += found
            advice += more
        facts = {
            "version": version,
            "namespace": cluster.namespace,
            "transport": settings.k8s_transport,
            "quota": _quota(cluster),
            "gpus": _gpus(cluster),
        }
    return Diagnosis(
        backend="k8s", probes=tuple(probes), never_enforced=_MEANING, engine=facts, advice=tuple(advice)
    )


def _named(row: tuple[str, str, str, str]) -> str:
    group, resource, part, verb = row
    return f"{verb} {resource}{f'/{part}' if part else ''}{f'.{group}' if group else ''}"


def _may(cluster: Cluster, group: str, resource: str, part: str, verb: str) -> bool:
    asked = {"namespace": cluster.namespace, "group": group, "resource": resource, "verb": verb}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked | ({"subresource": part} if part else {})},
    }
    with cluster_errors("asking for our permissions"):
        answer = cluster.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
    return bool((answer.get("status") or {}).get("allowed"))


def _tried(cluster: Cluster, settings: Settings) -> tuple[list[Probe], list[str]]:
    probes, advice = [], []
    try:
        found = _look_inside(settings)
    except AutoscorerError as exc:
        hint = f"a job does not run yet: {exc.message}"
        return [Probe(name="a job runs", enforced=False, detail=exc.message)], [hint]
    probes.append(told("a job runs", f"one with data in and out by {settings.k8s_transport}", ""))
    probes += _judged(found)
    network, remedy = _network(cluster, settings)
    probes.append(network)
    advice += [remedy] if remedy else []
    if not found.get("pids", "max").isdigit():
        advice.append(_MEANING[PROCESS_LIMIT])
    return probes, advice


def _judged(found: dict[str, str]) -> Iterator[Probe]:
    yield told(properties.HOST_USER, "its user", "" if found.get("uid") == str(USER) else "another user")
    capable = found.get("CapEff", "").strip("0")
    yield told(properties.CAPABILITIES, "its capability sets", f"has {capable}" if capable else "")
    free = "" if found.get("NoNewPrivs") == "1" else "the flag is not set"
    yield told(properties.NO_NEW_PRIVILEGES, "the flag of the process", free)
    unfiltered = "" if found.get("Seccomp") == "2" else "no filter"
    yield told(properties.SECCOMP, "the mode of the process", unfiltered)
    wrote = f"wrote into {found['wrote']}" if "wrote" in found else ""
    yield told(properties.READ_ONLY, "to write into / and input/", wrote)
    yield told("no service account token", "the usual place", found.get("token", ""))


def _look_inside(settings: Settings) -> dict[str, str]:
    """What a job's own program finds. Raises AutoscorerError when none can be run."""
    root = settings.k8s_workspace_mount if settings.k8s_transport == "bind" else None
    with tempfile.TemporaryDirectory(prefix="autoscorer-", dir=root) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "input").mkdir()
        (folder / "meta.json").write_text("{}")
        own = replace(
            settings,
            image_allowlist=None,
            image_pull_policy="ifnotpresent",
            k8s_start_timeout_s=int(START_S),
        )
        plan = _plan(folder, own.k8s_helper_image)
        executor, failures = K8sExecutor(own), list[AutoscorerError]()

        def collect(_output: Path, outcome: RunOutcome) -> None:
            failure = verdict(outcome, plan.limits)
            if failure is not None:
                failures.append(failure)
                return
            executor.take_output(plan, folder / "taken", _policy())

        executor.run(plan, stop=lambda: None, on_event=lambda _name, _facts: None, collect=collect)
        if failures:
            raise failures[0]
        lines = (folder / "taken" / "found").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


def _policy() -> Any:
    from autoscorer.harvest import HarvestPolicy

    return HarvestPolicy(max_bytes=2**20)


def _plan(folder: Path, image: str) -> AttemptPlan:
    limits = Limits(
        cpu_cores=0.1,
        memory_bytes=64 * 2**20,
        gpus=0,
        shm_bytes=2**20,
        time_limit_s=START_S,
        output_bytes=2**20,
    )
    return AttemptPlan(
        job_id="doctor",
        attempt_id=secrets.token_hex(8),
        image=image,
        command=("sh", "-c", _LOOK_INSIDE),
        env={},
        limits=limits,
        input_dir=folder / "input",
        spec_path=folder / "meta.json",
        attempt_dir=folder / ".attempts" / "1",
        logs_dir=folder / "logs",
    )


def _network(cluster: Cluster, settings: Settings) -> tuple[Probe, str | None]:
    """Whether it is enforced, and what to do about that."""
    try:
        reached = _reaches(cluster, settings)
    except AutoscorerError as exc:
        untried = Probe(name=NETWORK, enforced=False, detail=f"could not be tried: {exc.message}")
        return untried, "have this tried: nobody knows whether jobs have a network"
    probe = told(NETWORK, "to reach another pod of the namespace", "reached another pod" if reached else "")
    if reached:
        return probe, "install a network plug-in that enforces NetworkPolicy (Calico, Cilium, …)"
    if settings.k8s_network_enforced:
        return probe, None
    return probe, "set K8S_NETWORK_ENFORCED: true, so that results say that a job had no network"


def _reaches(cluster: Cluster, settings: Settings) -> bool:
    """A pod listens; one that the policy leaves alone must reach it; whether one without a network does, too.

    Raises AutoscorerError when that cannot be tried.
    """
    with cluster_errors("trying the network"), _pods(cluster, settings) as start:
        ensure_policy(cluster)
        listener = start("doctor", f"httpd -f -p {PORT} -h /tmp")
        address = _until(cluster, listener, lambda pod: (pod.get("status") or {}).get("podIP"))
        call = f"nc -w 3 {address} {PORT} < /dev/null > /dev/null"  # Debian's static wget dies of an address
        again = f"n=0; until {call}; do n=$((n+1)); [ $n -lt 5 ] || exit 1; sleep 1; done"
        control, job = start("doctor", again), start("none", f"sleep 2; {call}")
        if _exit_code(cluster, control) != 0:
            raise AutoscorerError("RESOURCE_UNAVAILABLE", "no pod reaches another")
        return _exit_code(cluster, job) == 0


@contextmanager
def _pods(cluster: Cluster, settings: Settings) -> Iterator[Any]:
    made: list[str] = []

    def start(network: str, script: str) -> str:
        name = f"autoscorer-doctor-{secrets.token_hex(6)}"
        made.append(name)
        cluster.call("POST", cluster.path("pods"), body=_pod(name, network, script, settings))
        return name

    try:
        yield start
    finally:
        for name in made:
            with suppress(RefusedError, UnreachableError):
                cluster.call("DELETE", cluster.path("pods", name), body={"gracePeriodSeconds": 0})


def _pod(name: str, network: str, script: str, settings: Settings) -> dict[str, Any]:
    user = {"runAsNonRoot": True, "runAsUser": USER, "seccompProfile": {"type": "RuntimeDefault"}}
    amounts = {"cpu": "50m", "memory": "32Mi"}
    container = {
        "name": "doctor",
        "image": settings.k8s_helper_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
        "resources": {"requests": amounts, "limits": amounts},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the container's
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {MANAGED_BY: OURS, LABEL_NETWORK: network}},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": int(3 * START_S),
            "automountServiceAccountToken": False,
            "securityContext": user,
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}],
        },
    }


def _exit_code(cluster: Cluster, name: str) -> int:
    def ended(pod: dict[str, Any]) -> Any:
        rows = (pod.get("status") or {}).get("containerStatuses") or ()
        return next((row["state"]["terminated"] for row in rows if "terminated" in row["state"]), None)

    return int(_until(cluster, name, ended)["exitCode"])


def _until(cluster: Cluster, name: str, said: Any) -> Any:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if found := said(cluster.call("GET", cluster.path("pods", name))):
            return found
        time.sleep(0.2)
    raise AutoscorerError("RESOURCE_UNAVAILABLE", f"pod {name} did not come so far in {START_S:g} s")


def _quota(cluster: Cluster) -> str:
    """What the namespace may use and uses; empty if nothing bounds it."""
    with suppress(RefusedError, UnreachableError):
        rows = cluster.call("GET", cluster.path("resourcequotas"), budget_s=0.0).get("items") or ()
        parts = [
            f"{key} {((row.get('status') or {}).get('used') or {}).get(key, '0')} of {hard}"
            for row in rows
            for key, hard in ((row.get("spec") or {}).get("hard") or {}).items()
        ]
        return ", ".join(parts) or "none"
    return "not to be seen"


def _gpus(cluster: Cluster) -> str:
    """How many the device plug-in offers."""
    with suppress(RefusedError, UnreachableError):
        rows = cluster.call("GET", "/api/v1/nodes", budget_s=0.0).get("items") or ()
        found = [((row.get("status") or {}).get("allocatable") or {}).get(GPU) for row in rows]
        if not any(found):
            return f"0: no node offers {GPU}; jobs with GPUs need NVIDIA's device plug-in"
        return str(sum(int(count) for count in found if count))
    return "not to be seen: nodes cannot be listed"
