"""How single values are read: memory sizes, flags, numbers, URLs, lists, mappings."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscorer.settings.kinds import load_yaml, memory_text, parse_memory, read_value
from autoscorer.settings.table import row_of, setting_rows

SIZES = [
    ("4Gi", 4_294_967_296),
    ("512Mi", 536_870_912),
    ("1Ki", 1024),
    ("2Ti", 2_199_023_255_552),
    ("1g", 1_073_741_824),  # Docker's lower case counts in 1024
    ("512m", 536_870_912),  # and its m is mebibytes, not the milli of Kubernetes
    ("64k", 65_536),
    ("1G", 1_000_000_000),  # Kubernetes' upper case counts in 1000
    ("250M", 250_000_000),
    ("3K", 3000),
    ("1.5Gi", 1_610_612_736),
    ("0.5K", 500),
    ("1048576", 1_048_576),
    (1_048_576, 1_048_576),
]
NOT_SIZES: list[object] = [
    *(
        "0",
        "0Gi",
        "0.0001k",
        "-1Gi",
        "+1Gi",
        "",
        " 4Gi",
        "4Gi ",
        "4 Gi",
        "4gi",
        "4GI",
        "4GB",
        "4Gib",
        "Gi",
        "1.5",
        "1.",
    ),
    *(
        ".5Gi",
        "1e3",
        "NaN",
        "inf",
        "1_000Mi",
        "４Gi",
        "٤Gi",
        "4Gi\n",
        "0x10",
        "9223372036854775808",
        "9999999999999Ti",
    ),
    *(0, -1, True, False, 1.0, float("nan"), 2**63, 10**400, None, [], {}, b"4Gi"),
]


@pytest.mark.parametrize(("given", "expected"), SIZES)
def test_a_memory_size_is_read_as_bytes(given: object, expected: int) -> None:
    assert parse_memory(given) == expected


@pytest.mark.parametrize(
    "given", NOT_SIZES, ids=lambda value: repr(value)[:20] if type(value) is not int else None
)
def test_what_is_not_a_memory_size_is_refused_with_the_right_form(given: object) -> None:
    with pytest.raises(ValueError, match="4Gi"):
        parse_memory(given)


VALUES: list[tuple[str, object, object]] = [
    ("TIMEOUT", "1800", 1800),
    ("TIMEOUT", 60, 60),
    ("DEFAULT_CPU", "0.5", 0.5),
    ("PRINT_STACKTRACE", "Yes", True),
    ("PRINT_STACKTRACE", 0, False),
    ("IMAGE_PULL_POLICY", "IfNotPresent", "ifnotpresent"),
    (
        "SECURITY_OPTS",
        "no-new-privileges:true, seccomp=builtin",
        ["no-new-privileges:true", "seccomp=builtin"],
    ),
    ("SECURITY_OPTS", '["no-new-privileges"]', ["no-new-privileges"]),
    ("SECURITY_OPTS", "[no-new-privileges, label=disable]", ["no-new-privileges", "label=disable"]),
    ("ALLOWED_NETWORKS", "[]", []),
    ("K8S_DEFAULT_RESOURCES", '{"cpu": 2, "memory": "4Gi"}', {"cpu": 2, "memory": "4Gi"}),
    ("CELERY_BROKER", "redis://:pw@host:6379/0", "redis://:pw@host:6379/0"),
    ("CELERY_BROKER", "sentinel://a:26379;sentinel://b:26379", "sentinel://a:26379;sentinel://b:26379"),
    ("CELERY_BACKEND", "db+sqlite:///results.db", "db+sqlite:///results.db"),
    *(
        ("DATABASE_URL", url, url)
        for url in ("postgresql://me:pw@db/jobs", "postgresql+psycopg://me@/jobs?host=%2Frun%2Fpostgresql")
    ),
    ("DOCKER_HOST", "tcp://10.0.0.1:2376", "tcp://10.0.0.1:2376"),
    ("DOCKER_API_VERSION", "1.43", "1.43"),
    *(
        ("REGISTRY_AUTH", auth, auth)
        for auth in (
            {"registry.example:5000": {"username": "u", "password": "p", "email": "u@team.example"}},
            {"https://index.docker.io/v1/": {"identitytoken": "t"}, "ghcr.io": {"registrytoken": "t"}},
        )
    ),
    (
        "NODES",
        '[{"name": "a", "host": "tcp://h", "gpus": "4"}]',
        [{"name": "a", "host": "tcp://h", "gpus": 4, "labels": {}}],
    ),
]


@pytest.mark.parametrize(("key", "raw", "expected"), VALUES)
def test_a_right_value_is_read(key: str, raw: object, expected: object) -> None:
    value = read_value(raw, row_of(key))
    assert value == expected
    assert type(value) is type(expected)


WRONG_VALUES: list[tuple[str, object, str]] = [
    ("TIMEOUT", True, "whole number"),
    ("TIMEOUT", 0, "from 1"),
    ("TIMEOUT", -5, "from 1"),
    ("TIMEOUT", 1.5, "whole number"),
    ("TIMEOUT", float("nan"), "whole number"),
    ("TIMEOUT", "1_000", "whole number"),
    ("TIMEOUT", "٣٠", "whole number"),
    ("TIMEOUT", 10**400, "whole number"),
    ("DEFAULT_CPU", float("nan"), "a number"),
    ("DEFAULT_CPU", float("inf"), "a number"),
    ("DEFAULT_CPU", 0, "a number"),
    ("DEFAULT_CPU", True, "a number"),
    ("DEFAULT_CPU", "1e3", "a number"),
    ("DEFAULT_GPU", -1, "from 0"),
    ("DEFAULT_MEMORY", "4", "from 6Mi"),  # meant as 4 GB, says four bytes
    ("DEFAULT_MEMORY", "100Ti", "to 64Ti"),
    ("PRINT_STACKTRACE", "maybe", "true or false"),
    ("PRINT_STACKTRACE", 2, "true or false"),
    ("IMAGE_PULL_POLICY", "sometimes", "always, ifnotpresent, never"),
    ("DOCKER_HOST", "/var/run/docker.sock", "unix://"),
    ("DOCKER_HOST", "unix://var/run/docker.sock", "unix://"),  # two slashes: "var" would be a host
    ("DOCKER_HOST", "http://host", "unix://"),
    ("DOCKER_HOST", "tcp://", "unix://"),
    ("DOCKER_HOST", "ssh://user@host", "ssh -L"),
    ("DOCKER_HOST", "npipe:////./pipe/docker_engine", "npipe"),
    ("DOCKER_HOST", "tcp://host:99999", "unix://"),
    ("DOCKER_HOST", "tcp://host:x", "unix://"),
    ("DOCKER_HOST", "tcp://[::1", "unix://"),
    ("DOCKER_API_VERSION", 1.4, "in quotes"),  # YAML reads 1.40 so
    ("DOCKER_API_VERSION", "v1.43", "in quotes"),
    ("SECURITY_OPTS", ["privileged"], "seccomp"),
    ("SECURITY_OPTS", "[unclosed", "seccomp"),
    ("SECURITY_OPTS", {"seccomp": "unconfined"}, "seccomp"),
    ("SECURITY_OPTS", [1], "seccomp"),
    ("ALLOWED_NETWORKS", ["container:other"], "network names"),
    ("API_TRUSTED_PROXIES", "*", "addresses or networks"),
    ("API_TRUSTED_PROXIES", ["proxy.internal"], "addresses or networks"),
    ("API_TRUSTED_PROXIES", ["10.1.2.3", "0.0.0.0/0"], "addresses or networks"),
    ("API_TRUSTED_PROXIES", "::/0", "addresses or networks"),
    (
        "API_TRUSTED_PROXIES",
        "10.1.0.1/16",
        "addresses or networks",
    ),  # an address with a mask: which is meant?
    ("CELERY_BROKER", "localhost:6379", "redis://"),
    ("DATABASE_URL", "postgresql://me@/jobs", "postgresql"),
    ("DATABASE_URL", "postgresql://me@/jobs?host=db", "postgresql"),
    ("CELERY_BROKER", "http://host", "redis://"),
    ("CELERY_BROKER", "redis://ho st", "redis://"),
    ("K8S_NAMESPACE", "Team_A", "DNS label"),
    ("K8S_NAMESPACE", "a" * 64, "DNS label"),
    ("K8S_NAMESPACE", "-a", "DNS label"),
    ("K8S_TOKEN", "two words", "token"),
    ("K8S_TOKEN", "line\n", "token"),
    ("K8S_DEFAULT_RESOURCES", {"cpus": 2}, "cpu"),
    ("K8S_DEFAULT_RESOURCES", {"cpu": True}, "a number"),
    ("K8S_DEFAULT_RESOURCES", {"memory": "lots"}, "memory size"),
    ("NODES", [{"name": "a"}], "host"),
    ("NODES", [{"name": "a", "host": "tcp://h", "gpu": 1}], "host"),
    ("NODES", [{"name": "a", "host": "ssh://h"}], "as in DOCKER_HOST"),
    ("NODES", [{"name": "a", "host": "tcp://h", "transport": "pigeon"}], "one of auto, bind, stream"),
    ("NODES", [{"name": "a", "host": "tcp://h"}, {"name": "a", "host": "tcp://i"}], "each name once"),
    ("NODES", "[" * 100_000, "host"),
    ("REGISTRY_AUTH", "user:password", "mapping"),
    ("REGISTRY_AUTH", {1: "x"}, "mapping"),
    ("REGISTRY_AUTH", {"registry.example": "user:password"}, "username"),
    ("REGISTRY_AUTH", {"registry.example": None}, "username"),
    ("REGISTRY_AUTH", {"registry.example": {}}, "username"),
    ("REGISTRY_AUTH", {"registry.example": {"username": "u"}}, "username"),
    ("REGISTRY_AUTH", {"registry.example": {"username": "u", "password": 7}}, "username"),
    ("REGISTRY_AUTH", {"registry.example": {"username": "u", "password": ""}}, "username"),
    ("REGISTRY_AUTH", {"registry.example": {"user": "u", "password": "p"}}, "username"),
    ("REGISTRY_AUTH", {"registry.example": {"auth": "dTpw"}}, "username"),
    ("REGISTRY_AUTH", {"two words": {"identitytoken": "t"}}, "username"),
    ("REGISTRY_AUTH", {"/v2/": {"identitytoken": "t"}}, "username"),
    ("LOG_DIR", "a\0b", "text on one line"),
    ("LOG_DIR", "\udcff", "text on one line"),
]


@pytest.mark.parametrize(("key", "raw", "expected"), WRONG_VALUES)
def test_a_wrong_value_is_refused_and_the_right_one_described(key: str, raw: object, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_value(raw, row_of(key))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.integers(1, 10**18 - 1))
def test_a_size_that_is_told_is_read_as_the_same(size_bytes: int) -> None:
    assert parse_memory(memory_text(size_bytes)) == size_bytes
    assert (memory_text(4 * 2**40), memory_text(1536 * 2**20), memory_text(1001)) == ("4Ti", "1536Mi", "1001")


@given(raw=ANYTHING, row=st.sampled_from(setting_rows()))
def test_any_value_is_read_or_refused_and_nothing_else(raw: object, row: object) -> None:
    assert isinstance(row, type(row_of("TIMEOUT")))
    with contextlib.suppress(ValueError):
        read_value(raw, row)


@given(
    text=st.text()
    | st.sampled_from(['!!int ""', "!!float x", "!!bool x", "!!timestamp x", "2024-99-99", "? [1]\n: 2"])
)
def test_any_text_is_yaml_or_refused_and_nothing_else(text: str) -> None:
    with contextlib.suppress(ValueError):
        load_yaml(text)


@pytest.mark.parametrize(
    "text", ["K8S_TOKEN: *hunter2", "K8S_TOKEN: !hunter2 x", 'K8S_TOKEN: "hunter2\n\nK8S_API: x']
)
def test_a_yaml_fault_does_not_quote_the_file(text: str) -> None:
    with pytest.raises(ValueError, match=r"line 1|line 3") as caught:
        load_yaml(text)
    assert "hunter2" not in str(caught.value)


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        load_yaml("MAX_MEMORY: 1Gi\nTIMEOUT: 5\nMAX_MEMORY: 64Gi\n")
    assert load_yaml("MAX_MEMORY: 1Gi\n") == {"MAX_MEMORY": "1Gi"}
