"""Known ways out of a container, and the releases that closed them: data, and a pure comparison.

As of November 2025; what came later is not here. Only what a container's program or image can use is:
not what needs `docker cp`, `docker build` or the engine's socket, which no job gets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

Version = tuple[int, int, int, int, int]

_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:[-~.]?(alpha|beta|rc)[.-]?(\d+))?")
_STEPS = {"alpha": 0, "beta": 1, "rc": 2}
_RELEASE = 3


@dataclass(frozen=True, kw_only=True)
class Fix:
    """``fixed_in``: the first release with the fix on each branch that got one."""

    cves: str
    fixed_in: tuple[str, ...]


FIXES: Mapping[str, tuple[Fix, ...]] = {
    "runc": (
        Fix(cves="CVE-2019-5736", fixed_in=("1.0.0-rc7",)),
        Fix(cves="CVE-2021-30465", fixed_in=("1.0.0-rc95",)),
        Fix(cves="CVE-2024-21626", fixed_in=("1.1.12",)),
        Fix(
            cves="CVE-2025-31133, CVE-2025-52565, CVE-2025-52881",
            fixed_in=("1.2.8", "1.3.3", "1.4.0-rc.3"),
        ),
    ),
    "containerd": (Fix(cves="CVE-2020-15257", fixed_in=("1.3.9", "1.4.3")),),
    "Engine": (
        Fix(cves="CVE-2022-36109", fixed_in=("20.10.18",)),
        # Names leak out of a network without a way out: it matters with ALLOWED_NETWORKS.
        Fix(cves="CVE-2024-29018", fixed_in=("23.0.11", "25.0.5", "26.0.0-rc3")),
    ),
}


def version_advice(versions: Mapping[str, str]) -> list[str]:
    """A sentence for each component older than a fix; ``versions`` as the engine tells them."""
    advice: list[str] = []
    for component, fixes in FIXES.items():
        text = versions.get(component, "")
        version = parse_version(text)
        if version is None:
            said = f"says {text[:40]!r}" if text else "says nothing"
            advice.append(f"The engine {said} as its version of {component}: check that it is a recent one.")
            continue
        missing = [fix for fix in fixes if not has_fix(version, fix)]
        if missing:
            cves = ", ".join(fix.cves for fix in missing)
            advice.append(
                f"{component} {text} is older than the fix of {cves} ({' or '.join(missing[-1].fixed_in)}), "
                "unless the distribution has patched it."
            )
    return advice


def has_fix(version: Version, fix: Fix) -> bool:
    """On a branch that got the fix, from there on; on another, if it is newer than all of those."""
    fixed = [found for text in fix.fixed_in if (found := parse_version(text)) is not None]
    same_branch = [first for first in fixed if first[:2] == version[:2]]
    return version >= (same_branch[0] if same_branch else max(fixed))


def parse_version(text: str) -> Version | None:
    """Comparable; a distribution's suffix (``+ds1``) does not count. None for what is no version."""
    match = _VERSION.match(text)
    if match is None:
        return None
    major, minor, patch, step, number = match.groups()
    return int(major), int(minor), int(patch or 0), _STEPS.get(step, _RELEASE), int(number or 0)
