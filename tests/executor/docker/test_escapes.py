"""Which releases have which fix; the versions are those of the projects' own advisories."""

from __future__ import annotations

import pytest

from autoscorer.executor.docker.escapes import FIXES, Fix, has_fix, parse_version, version_advice

NOVEMBER_2025 = FIXES["runc"][-1]


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ("1.1.12", False),  # a branch that got no fix
        ("1.2.7", False),
        ("1.2.8", True),
        ("1.2.10", True),  # by number, not by text
        ("1.3.0", False),  # newer than 1.2.8, and without it
        ("1.3.3", True),
        ("1.4.0-rc.2", False),
        ("1.4.0-rc.3", True),
        ("1.4.0", True),
        ("1.5.0", True),  # a branch made after the fix
        ("2.0.0", True),
    ],
)
def test_a_fix_counts_from_its_release_on_each_branch(version: str, fixed: bool) -> None:
    parsed = parse_version(version)
    assert parsed is not None
    assert has_fix(parsed, NOVEMBER_2025) is fixed


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0.0-rc6", "1.0.0-rc7"),
        ("1.0.0-rc9", "1.0.0-rc95"),
        ("1.0.0~rc93+ds1", "1.0.0-rc95"),  # as Debian writes it
        ("1.0.0-rc95", "1.0.0"),
        ("1.0-beta1", "1.0-rc1"),
        ("20.10.9", "20.10.24+dfsg1"),
        ("v1.1.9", "1.1.12"),
    ],
)
def test_versions_are_ordered_as_their_projects_order_them(older: str, newer: str) -> None:
    first, second = parse_version(older), parse_version(newer)
    assert first is not None
    assert second is not None
    assert first < second


def test_a_distributions_suffix_does_not_make_a_version_another() -> None:
    assert parse_version("1.1.5+ds1") == parse_version("1.1.5") == parse_version("v1.1.5")
    assert parse_version("1.6.20~ds1") == parse_version("1.6.20")


def test_every_version_of_the_table_can_be_read_and_is_its_own_fix() -> None:
    for fixes in FIXES.values():
        for fix in fixes:
            for text in fix.fixed_in:
                version = parse_version(text)
                assert version is not None
                assert has_fix(version, fix)


def test_debians_engine_is_told_the_fixes_it_lacks_by_number() -> None:
    old = {"Engine": "20.10.24+dfsg1", "containerd": "1.6.20~ds1", "runc": "1.1.5+ds1"}
    advice = version_advice(old)
    assert [text.split()[0] for text in advice] == ["runc", "Engine"]
    assert "CVE-2024-21626" in advice[0]
    assert "CVE-2025-52881" in advice[0]
    assert "CVE-2021-30465" not in advice[0]
    assert "CVE-2024-29018" in advice[1]
    assert all("unless the distribution has patched it" in text for text in advice)


def test_an_engine_that_has_every_fix_gets_no_advice() -> None:
    assert version_advice({"Engine": "29.0.0", "containerd": "v2.1.5", "runc": "1.3.3"}) == []


def test_a_version_that_is_not_told_or_not_one_is_said_so() -> None:
    advice = version_advice({"Engine": "29.0.0", "containerd": "HEAD-abc"})
    assert len(advice) == 2
    assert "says nothing as its version of runc" in advice[0]
    assert "'HEAD-abc'" in advice[1]


def test_control_a_table_without_the_fix_says_nothing() -> None:
    version = parse_version("1.1.5")
    assert version is not None
    assert has_fix(version, Fix(cves="none", fixed_in=("1.0.0",)))
