"""Where callbacks may go: no spelling, name or answer of a resolver leads inside."""

from __future__ import annotations

import ipaddress
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscorer.callback_addresses import check_callback_url, is_public, vetted_addresses
from autoscorer.utils.errors import AutoscorerError

OUTSIDE = "93.184.216.34"

INSIDE = [
    "http://localhost/",
    "http://LOCALHOST:8080/",
    "http://app.localhost/",
    "http://redis:6379/",  # a name without a dot is one of the network it runs in
    "http://printer.local/",
    "http://metadata.google.internal/",
    "http://127.0.0.1/",
    "http://127.1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://2130706433/",  # 127.0.0.1 as one number
    "http://0x7f.1/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.0.0.0x1/",
    "http://127.0.0.1./",
    "http://localhost./",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/",  # 6to4 of 127.0.0.1
    "http://[2001:0:5ef5:79fb::1]/",  # Teredo
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[2606:4700::1%eth0]/",
    "http://[fc00::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
]

MALFORMED = [
    "",
    "example.org/hook",
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://example.org/",
    "http://",
    "http:///hook",
    "http://user:hunter2@example.org/",
    "http://example.org@127.0.0.1/",
    "http://127.0.0.1#@example.org/",
    "http://example.org/#there",
    "http://example.org\\@127.0.0.1/",
    "http://exa mple.org/",
    "http://example.org/a b",
    "http://exam\tple.org/",
    "http://example.org/\r\nHost: other",
    "http://example.org:0/",
    "http://example.org:65536/",
    "http://example.org:-1/",
    "http://example.org:/",
    "http://example.org:80:80/",
    "http://example..org/",
    "http://.example.org/",
    "http://-example.org/",
    "http://example.org./",
    "http://%31%32%37.0.0.1/",
    "http://１２７.0.0.1/",
    "http://ⓛocalhost/",
    "http://bücher.example/",
    "http://example.org/ü",
    "http://[::1/",
    "http://[127.0.0.1]/",
    "http://[v1.x]/",
    "http://[::1]x/",
    "http://" + "a" * 64 + ".org/",
    "http://" + ".".join(["a" * 60] * 5) + "/",
    "http://example.org/" + "a" * 2048,
]


@pytest.mark.parametrize("url", INSIDE + MALFORMED)
@pytest.mark.fault("callback address that is internal, however spelt")
def test_an_internal_or_odd_address_is_refused(url: str) -> None:
    with pytest.raises(AutoscorerError) as caught:
        check_callback_url(url, [])
    assert (caught.value.code, caught.value.cause) == ("BAD_REQUEST", "callback_url")
    assert "hunter2" not in str(caught.value.to_dict())


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://example.org/hook?job=1&x=%20", "example.org", 443),
        ("http://Example.ORG", "example.org", 80),
        ("https://xn--bcher-kva.example:8443/", "xn--bcher-kva.example", 8443),
        ("https://a_b.example.co.uk/", "a_b.example.co.uk", 443),
        ("http://93.184.216.34/", OUTSIDE, 80),
        ("http://[2606:4700::1111]:81/", "2606:4700::1111", 81),
        ("http://[64:ff9b::93.184.216.34]/", "64:ff9b::5db8:d822", 80),
        ("http://127.0.0.1.example.org/", "127.0.0.1.example.org", 80),  # a name; what it resolves to counts
    ],
)
def test_an_address_outside_is_taken(url: str, host: str, port: int) -> None:
    target = check_callback_url(url, [])
    assert (target.url, target.host, target.port) == (url, host, port)


@pytest.mark.fault("callback address that is internal, however spelt", is_control=True)
def test_what_the_operator_names_may_be_internal_and_nothing_else() -> None:
    allowed = ["UI.internal", "10.1.0.0/16", "::1", "localhost"]
    for url in ("http://ui.internal/", "http://10.1.2.3/", "http://[::1]/", "http://localhost:9/"):
        check_callback_url(url, allowed)
    for url in ("http://x.ui.internal/", "http://10.2.0.1/", "http://127.0.0.1/", "http://[::2]/"):
        with pytest.raises(AutoscorerError):
            check_callback_url(url, allowed)


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        [OUTSIDE, "10.0.0.1"],  # one of several
        ["::1"],
        ["::ffff:169.254.169.254"],
        ["fe80::1%2"],
        ["2002:a00:1::"],
        ["not an address"],
    ],
)
@pytest.mark.fault("callback receiver that resolves to an internal address")
def test_a_name_that_resolves_to_an_internal_address_is_refused(answers: list[str]) -> None:
    target = check_callback_url("https://rebind.example.org/", [])
    with pytest.raises(AutoscorerError) as caught:
        vetted_addresses(target, [], lambda _host, _port: answers)
    assert caught.value.cause == "callback_url"
    assert not any(answer in str(caught.value.to_dict()) for answer in answers), "it maps no network"


def test_the_addresses_to_connect_to_are_those_that_were_vetted() -> None:
    target, asked = check_callback_url("https://example.org/", []), []

    def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return [OUTSIDE, "2606:4700::1111", OUTSIDE]

    assert vetted_addresses(target, [], resolve) == (OUTSIDE, "2606:4700::1111")
    assert asked == [("example.org", 443)]


def test_a_literal_address_is_never_resolved() -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise AssertionError(host)

    assert vetted_addresses(check_callback_url(f"http://{OUTSIDE}/", []), [], resolve) == (OUTSIDE,)


def test_an_allowed_name_or_network_may_resolve_to_internal_addresses() -> None:
    named = check_callback_url("http://ui.internal/", ["ui.internal"])
    assert vetted_addresses(named, ["ui.internal"], lambda _h, _p: ["10.9.9.9"]) == ("10.9.9.9",)
    outside = check_callback_url("http://example.org/", ["10.1.0.0/16"])
    assert vetted_addresses(outside, ["10.1.0.0/16"], lambda _h, _p: ["10.1.0.7"]) == ("10.1.0.7",)
    with pytest.raises(AutoscorerError):
        vetted_addresses(outside, ["10.1.0.0/16"], lambda _h, _p: ["10.1.0.7", "10.2.0.7"])


def test_a_name_without_an_address_is_a_fault_of_the_network() -> None:
    with pytest.raises(OSError, match="has no address"):
        vetted_addresses(check_callback_url("http://example.org/", []), [], lambda _h, _p: [])


# By the registries of IANA, not by the library that is used.
SPECIAL_V4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4",
]  # fmt: skip


@given(st.sampled_from(SPECIAL_V4), st.integers(min_value=0, max_value=2**32 - 1))
def test_no_address_of_a_special_network_is_public_however_it_is_wrapped(network: str, number: int) -> None:
    inside = ipaddress.IPv4Network(network)
    address = inside[number % inside.num_addresses]
    assert not is_public(address)
    for prefix in ("::ffff:", "64:ff9b::", "::"):
        assert not is_public(ipaddress.IPv6Address(f"{prefix}{address}"))
    assert not is_public(ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80)))


@given(st.text(max_size=40))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    for url in (text, f"http://{text}", f"http://[{text}]/", f"https://example.org:{text}"):
        with suppress(AutoscorerError):
            assert check_callback_url(url, []).port
