"""The prober finds every property held in the sandbox, and every attack working without it."""

from __future__ import annotations

import pytest

from autoscorer.confine import properties
from autoscorer.confine.caps import Caps
from autoscorer.confine.cgroups import Cgroup, own_homes
from autoscorer.confine.probes import Probe
from autoscorer.confine.sandbox_probes import probe_isolation

pytestmark = pytest.mark.slow
BY_SANDBOX = {
    properties.NETWORK,
    properties.FILESYSTEM,
    properties.READ_ONLY,
    properties.PROCESSES,
    properties.CAPABILITIES,
    properties.USER_NAMESPACES,
    properties.SECCOMP,
}


def by_name(probes: list[Probe]) -> dict[str, Probe]:
    return {probe.name: probe for probe in probes}


@pytest.mark.sandbox
def test_in_the_sandbox_every_property_holds() -> None:
    found = by_name(probe_isolation())
    with_cgroups = {"memory limit", "process limit", "cpu limit"}
    group = Cgroup.create(Caps(memory_bytes=2**26, tasks=10, cpu_cores=1), own_homes())
    allowed = set() if group.directories else with_cgroups
    group.remove()
    assert set(found) >= BY_SANDBOX | with_cgroups
    assert {name for name, probe in found.items() if not probe.enforced} <= allowed


def test_control_without_the_sandbox_every_attack_works() -> None:
    found = by_name(probe_isolation(hardened=False))
    broken = {name for name, probe in found.items() if not probe.enforced}
    # A machine may forbid new user namespaces to everyone.
    assert broken >= BY_SANDBOX - {properties.USER_NAMESPACES}
