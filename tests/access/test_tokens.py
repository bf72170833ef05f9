"""Tokens are random, kept as hashes, shown once, and end when they are said to."""

from __future__ import annotations

import dataclasses
import hashlib
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from autoscorer.access.first import DEFAULT_ORGANISATION, first_organisation, operator_token
from autoscorer.access.principal import Principal
from autoscorer.access.tokens import authenticate, grant, make_token, revoke
from autoscorer.store.memory_store import MemoryStore
from autoscorer.store.records import Role
from autoscorer.store.sql_store import open_store
from autoscorer.utils.errors import AutoscorerError
from tests.store.clocks import MovableClock


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def store(clock: MovableClock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
def organiser(store: MemoryStore) -> Principal:
    acme = store.access.add_organisation("acme").organisation_id
    return Principal(organisation_id=acme, subject="ada", role=Role.ORGANISER, token_id="t")


def refused(store: MemoryStore, secret: str) -> str:
    with pytest.raises(AutoscorerError) as caught:
        authenticate(store, secret)
    assert caught.value.code == "UNAUTHENTICATED"
    assert not secret or secret not in str(caught.value.to_dict())
    return caught.value.message


def test_a_token_says_who_holds_it(store: MemoryStore, organiser: Principal) -> None:
    made = grant(store, organiser, subject="bob", role=Role.PARTICIPANT)
    principal = authenticate(store, made.secret)
    assert (principal.organisation_id, principal.subject, principal.role, principal.token_id) == (
        organiser.organisation_id,
        "bob",
        Role.PARTICIPANT,
        made.stored.token_id,
    )


def test_a_secret_has_256_random_bits_and_is_nowhere_in_what_is_kept(
    store: MemoryStore, organiser: Principal
) -> None:
    made = [grant(store, organiser, subject="bob", role=Role.VIEWER) for _ in range(50)]
    assert len({token.secret for token in made}) == 50
    assert all(len(token.secret) == len("as_") + 43 for token in made)  # 32 bytes are 43 characters
    for token in made:
        assert token.secret not in repr(token)
        assert token.stored.secret_sha256 == hashlib.sha256(token.secret.encode()).hexdigest()
        assert token.secret.startswith(token.stored.prefix)
        assert len(token.stored.prefix) == 9


def test_no_secret_stands_in_the_database(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'jobs.db'}")
    secret = operator_token(store, tmp_path / "token")
    assert authenticate(store, secret).role is Role.OPERATOR
    store.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("jobs.db*"))
    assert secret.encode() not in kept
    assert hashlib.sha256(secret.encode()).hexdigest().encode() in kept  # the control: that is where it is


def test_whatever_is_wrong_with_a_token_the_answer_is_the_same(
    store: MemoryStore, organiser: Principal, clock: MovableClock
) -> None:
    revoked = grant(store, organiser, subject="bob", role=Role.VIEWER)
    store.access.revoke(revoked.stored.token_id)
    expired = grant(store, organiser, subject="bob", role=Role.VIEWER, valid_for=timedelta(hours=1))
    clock.forward(3600)
    good = grant(store, organiser, subject="bob", role=Role.VIEWER)
    unknown = make_token(
        organisation_id=organiser.organisation_id, subject="eve", role=Role.OPERATOR, now=clock().at
    )
    bad = [
        revoked.secret,
        expired.secret,
        unknown.secret,
        good.stored.secret_sha256,
        good.stored.prefix,
        good.secret[:-1],
        good.secret + "A",
        good.secret.upper(),
        f"{good.secret}\n",
        "",
        "ａｓ＿" + "x" * 43,
        "x" * 100_000,
    ]
    assert len({refused(store, secret) for secret in bad}) == 1
    assert authenticate(store, good.secret).subject == "bob"


def test_a_token_is_valid_until_the_moment_it_expires(
    store: MemoryStore, organiser: Principal, clock: MovableClock
) -> None:
    made = grant(store, organiser, subject="bob", role=Role.VIEWER, valid_for=timedelta(hours=1))
    clock.forward(3599)
    assert authenticate(store, made.secret)
    clock.forward(1)
    refused(store, made.secret)


def test_an_organiser_makes_no_operator(store: MemoryStore, organiser: Principal) -> None:
    with pytest.raises(AutoscorerError) as caught:
        grant(store, organiser, subject="ada", role=Role.OPERATOR)
    assert caught.value.code == "FORBIDDEN"
    assert store.access.tokens(organiser.organisation_id) == ()


def test_nobody_revokes_what_they_could_not_have_granted(store: MemoryStore, organiser: Principal) -> None:
    operator = dataclasses.replace(organiser, role=Role.OPERATOR)
    of_operator = grant(store, operator, subject="root", role=Role.OPERATOR)
    of_viewer = grant(store, organiser, subject="bob", role=Role.VIEWER)
    with pytest.raises(AutoscorerError) as caught:
        revoke(store, organiser, of_operator.stored)
    assert caught.value.code == "FORBIDDEN"
    assert authenticate(store, of_operator.secret).role is Role.OPERATOR
    revoke(store, organiser, of_viewer.stored)
    refused(store, of_viewer.secret)
    revoke(store, operator, of_operator.stored)
    refused(store, of_operator.secret)


def test_tokens_of_another_organisation_are_the_operators_to_make(
    store: MemoryStore, organiser: Principal
) -> None:
    other = store.access.add_organisation("other").organisation_id
    with pytest.raises(AutoscorerError) as caught:
        grant(store, organiser, subject="eve", role=Role.VIEWER, organisation_id=other)
    assert caught.value.code == "NOT_FOUND"
    operator = dataclasses.replace(organiser, role=Role.OPERATOR)
    made = grant(store, operator, subject="eve", role=Role.VIEWER, organisation_id=other)
    assert authenticate(store, made.secret).organisation_id == other


def test_the_first_token_is_made_once_and_kept_for_its_owners_eyes(
    store: MemoryStore, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    secret = operator_token(store, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text(encoding="ascii") == f"{secret}\n"
    assert operator_token(store, path) == secret
    assert first_organisation(store).name == DEFAULT_ORGANISATION
    assert len(store.access.organisations()) == 1


@pytest.mark.parametrize("spoil", ["revoked", "empty", "noise", "readable by all"])
def test_a_first_token_that_is_not_good_any_more_is_replaced(
    store: MemoryStore, tmp_path: Path, spoil: str
) -> None:
    path = tmp_path / "token"
    former = operator_token(store, path)
    match spoil:
        case "revoked":
            store.access.revoke(authenticate(store, former).token_id)
        case "empty":
            path.write_bytes(b"")
        case "noise":
            path.write_bytes(b"\xff" * 10)
        case _:
            path.chmod(0o644)
    secret = operator_token(store, path)
    assert secret != former
    if spoil == "readable by all":
        refused(store, former)
    assert authenticate(store, secret).role is Role.OPERATOR
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
