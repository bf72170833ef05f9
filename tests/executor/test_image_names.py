from __future__ import annotations

import pytest

from autoscorer.executor.image_names import (
    ImageName,
    check_allowed,
    check_archive_allowed,
    is_listed,
    same_name,
)
from autoscorer.utils.errors import AutoscorerError

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "short", "full"),
    [
        ("busybox", "busybox:latest", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "busybox:1.36", "docker.io/library/busybox:1.36"),
        ("library/busybox", "busybox:latest", "docker.io/library/busybox:latest"),
        ("docker.io/busybox", "busybox:latest", "docker.io/library/busybox:latest"),
        ("index.docker.io/library/busybox:1", "busybox:1", "docker.io/library/busybox:1"),
        ("team/model", "team/model:latest", "docker.io/team/model:latest"),
        ("library/team/model", "library/team/model:latest", "docker.io/library/team/model:latest"),
        ("reg.example/a", "reg.example/a:latest", "reg.example/a:latest"),
        ("reg.example:5000/a/b:2", "reg.example:5000/a/b:2", "reg.example:5000/a/b:2"),
        ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
        ("localhost:5000/a", "localhost:5000/a:latest", "localhost:5000/a:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        (f"a@{DIGEST}", f"a@{DIGEST}", f"docker.io/library/a@{DIGEST}"),
        (f"reg.example/a:1@{DIGEST}", f"reg.example/a@{DIGEST}", f"reg.example/a@{DIGEST}"),
        ("a_b/c--d__e.f:V_1.x-y", "a_b/c--d__e.f:V_1.x-y", "docker.io/a_b/c--d__e.f:V_1.x-y"),
    ],
)
def test_a_name_has_one_normal_form(text: str, short: str, full: str) -> None:
    name = ImageName.parse(text)
    assert (str(name), name.full) == (short, full)
    assert ImageName.parse(short) == ImageName.parse(full) == name


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "/", "a:", ":1", "a/", "/a", "a//b", "../a", "a/../b", "Upper", "a/Upper", "a b", "a\n"),
        *("http://reg.example/a", "a:b:c", "a:" + "x" * 129, "a@", "a@sha256:12", f"a@{DIGEST}@{DIGEST}"),
        *("a@sha512:" + "a" * 128, DIGEST, "ab" * 32, "sha256:ab12", "a" * 256, "-a", "a-", "a___b", "ä"),
        *("reg.example:port/a", "reg.example:5000/", ".reg/a", "a:-1", "a?b", "a/b#c", "%2e%2e/a"),
    ],
)
def test_what_no_registry_could_hold_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="is no image name"):
        ImageName.parse(text)


def test_names_are_compared_in_full() -> None:
    name = ImageName.parse("busybox")
    assert same_name(name, ["other:1", "docker.io/library/busybox:latest"])
    assert not same_name(name, ["busybox:1", "reg.example/busybox:latest", "not a name", "<none>:<none>"])
    assert not same_name(name, [])


@pytest.mark.parametrize(
    ("pattern", "name", "listed"),
    [
        ("python", "python:latest", True),
        ("python", "python:3.11", False),
        ("python:*", "python:3.11", True),
        ("python:*", "pythonista:3", False),
        ("docker.io/library/python:3", "python:3", True),
        ("docker.io/library/*", "python:3", True),
        ("docker.io/library/*", "team/python:3", False),
        ("reg.example/team/*", "reg.example/team/a/b:1", True),
        ("reg.example/team/*", "reg.example/team2/a:1", False),
        ("reg.example/team/*", "evil.example/reg.example/team/a:1", False),
        ("reg?example/a", "reg.example/a", False),
        ("reg.example/*", "regxexample/a:1", False),
        ("[a-z]*", "python:3", False),
        ("*", "anything/at:all", True),
        ("a*b*a:1", "aba:1", True),
        ("ab*ba:1", "aba:1", False),
        ("a**:1", "a:1", True),
        ("a*bc*c:1", "abc:1", False),
        ("*/model:1", "reg.example/model:1", True),
        (f"a@{DIGEST}", f"a@{DIGEST}", True),
        ("a@sha256:*", f"a@{DIGEST}", True),
        ("a:*", f"a@{DIGEST}", False),
    ],
)
def test_the_list_is_matched_as_a_whole(pattern: str, name: str, listed: bool) -> None:
    parsed = ImageName.parse(name)
    if listed:
        check_allowed(parsed, (pattern,))
        return
    with pytest.raises(AutoscorerError) as caught:
        check_allowed(parsed, (pattern,))
    assert caught.value.code == "LIMIT_EXCEEDED"
    assert caught.value.details["excess"][0]["setting"] == "IMAGE_ALLOWLIST"


def test_no_list_allows_all_and_an_empty_one_nothing() -> None:
    check_allowed(ImageName.parse("a"), None)
    check_archive_allowed(DIGEST, None)
    with pytest.raises(AutoscorerError):
        check_allowed(ImageName.parse("a"), ())
    with pytest.raises(AutoscorerError):
        check_archive_allowed(DIGEST, ())


def test_an_archive_is_listed_by_its_id() -> None:
    check_archive_allowed(DIGEST, ("python", DIGEST))
    check_archive_allowed(DIGEST, ("sha256:*",))
    check_archive_allowed(DIGEST, ("*",))
    with pytest.raises(AutoscorerError):
        check_archive_allowed(DIGEST, ("python", "team/*", "sha256:" + "cd" * 32))


def test_a_pattern_with_many_stars_is_quick() -> None:
    assert not is_listed(["*a" * 12 + "b"], "a" * 60)
