"""Nothing secret is left in what is shown."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscorer.settings.secrets import mask_secrets, mask_url, names_a_secret, secret_texts, url_secrets

SECRET_KEYS = [
    "token",
    "HF_TOKEN",
    "K8S_TOKEN",
    "password",
    "dbPassword",
    "api_key",
    "apiKey",
    "API-KEY",
    "secret",
]
SECRET_KEYS += ["AWS_SECRET_ACCESS_KEY", "Authorization", "auth", "credentials", "private_key", "passphrase"]
PLAIN_KEYS = [
    "tokenizer",
    "tokenize",
    "author",
    "cpu",
    "job_id",
    "key",
    "keys",
    "passed",
    "compass",
    "secretary",
]


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_key_that_names_a_secret_is_known(key: str) -> None:
    assert names_a_secret(key)


@pytest.mark.parametrize("key", PLAIN_KEYS)
def test_a_key_that_only_looks_similar_is_left(key: str) -> None:
    assert not names_a_secret(key)


TEXTS = [
    ("redis://:hunter2@host:6379/0", "redis://:***@host:6379/0"),
    ("postgresql+psycopg://me:hunter2@db/x", "postgresql+psycopg://me:***@db/x"),
    ("at redis://u:hunt@er2@host now", "at redis://u:***@host now"),
    ("GET /x?token=hunter2&page=3", "GET /x?token=***&page=3"),
    ("password: hunter2, user: me", "password: ***, user: me"),
    ('{"api_key": "hunter2"}', '{"api_key": "***"}'),
    ("Authorization: Bearer hunter2hunter2", "Authorization: ***"),
    ("curl -H 'bearer hunter2hunter2'", "curl -H 'bearer ***'"),
    # and what holds no secret stays as it is
    ("ssh://git@host/repo", "ssh://git@host/repo"),
    ("http://host:8080/path", "http://host:8080/path"),
    ("tokenizer=13a, 512 tokens", "tokenizer=13a, 512 tokens"),
    ("unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_secrets_in_text_are_masked(text: str, expected: str) -> None:
    assert mask_secrets(text) == expected


def test_values_are_masked_by_their_key_and_numbers_are_left() -> None:
    value = {"env": [{"HF_TOKEN": "x", "N": "1"}], "password": ["a", "b"], "nll_per_token": 3.2, "token": ""}
    assert mask_secrets(value) == {
        "env": [{"HF_TOKEN": "***", "N": "1"}],
        "password": "***",
        "nll_per_token": 3.2,
        "token": "",
    }


def test_a_known_secret_is_masked_wherever_it_stands() -> None:
    assert mask_secrets(["said hunter2!", {"hunter2": 1}], ("hunter2",)) == ["said ***!", {"***": 1}]


URLS = [
    ("redis://:p@ss/w'rd@host:1/0", "redis://:***@host:1/0"),
    ("amqp://onlytoken@host", "amqp://***@host"),
    ("sentinel://:a@h1;sentinel://:b@h2", "sentinel://:***@h2"),
    ("postgresql://h/d?password=a'b,c#d&sslmode=require", "postgresql://***"),
    ("redis://u:a?b=c@h/0?password=x@y", "redis://***"),
    ("redis://host/0?ssl_cert_reqs=none", "redis://host/0?ssl_cert_reqs=none"),
]


@pytest.mark.parametrize(("url", "expected"), URLS)
def test_a_url_of_a_secret_setting_keeps_nothing_of_its_password(url: str, expected: str) -> None:
    assert mask_url(url) == expected


def test_the_secrets_of_a_url_are_found_as_written_and_unquoted() -> None:
    found = set(url_secrets("redis://:p%40ss@host/0?token=abcd"))
    assert {"p%40ss", "p@ss", "abcd"} <= found


def test_user_names_beside_passwords_are_no_secrets() -> None:
    value = {"registry.example": {"username": "robot", "password": "hunter2"}, "other": ["x:y"]}
    assert sorted(secret_texts(value)) == ["hunter2", "x:y"]


@given(password=st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1))
def test_no_password_survives_in_a_masked_url(password: str) -> None:
    planted = f"zq{password}qz"
    assert planted not in mask_url(f"redis://user:{planted}@host:6379/0")


@pytest.mark.parametrize("piece", ["a://b:", "token ", "token=", "_a", "bearer ", "a://", "password\t\t\t"])
def test_hostile_text_does_not_cost_quadratic_time(piece: str) -> None:
    started = time.process_time()
    mask_secrets((piece * 65_536)[:65_536])
    assert time.process_time() - started < 2
