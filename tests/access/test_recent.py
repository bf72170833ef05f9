"""What is remembered of a token is forgotten in time, and at once when it was revoked here."""

from __future__ import annotations

from datetime import timedelta

import pytest

from autoscorer.access.principal import Principal
from autoscorer.access.recent import LONGEST_S, RecentTokens
from autoscorer.access.tokens import grant
from autoscorer.store.memory_store import MemoryStore
from autoscorer.store.records import Role, StoredToken
from autoscorer.utils.errors import AutoscorerError
from tests.store.clocks import MovableClock


class Moved:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=MovableClock())


@pytest.fixture
def elapsed() -> Moved:
    return Moved()


@pytest.fixture
def tokens(store: MemoryStore, elapsed: Moved) -> RecentTokens:
    return RecentTokens(store, elapsed=elapsed)


def made(store: MemoryStore, *, valid_for: timedelta | None = None) -> tuple[str, str]:
    """A new token's secret and id."""
    home = (store.access.organisation("acme") or store.access.add_organisation("acme")).organisation_id
    granter = Principal(organisation_id=home, subject="ada", role=Role.ORGANISER, token_id="t")
    token = grant(store, granter, subject="bob", role=Role.PARTICIPANT, valid_for=valid_for)
    return token.secret, token.stored.token_id


def test_a_token_is_known_for_a_second_after_the_store_was_asked(
    store: MemoryStore, tokens: RecentTokens, elapsed: Moved
) -> None:
    secret, token_id = made(store)
    assert tokens.known(secret) is None
    principal = tokens.authenticate(secret)
    assert (principal.subject, principal.token_id) == ("bob", token_id)
    elapsed.now_s += LONGEST_S - 0.01
    assert tokens.known(secret) == principal
    elapsed.now_s += 0.02
    assert tokens.known(secret) is None


def test_a_token_is_not_known_past_its_own_end(
    store: MemoryStore, tokens: RecentTokens, elapsed: Moved
) -> None:
    secret, _ = made(store, valid_for=timedelta(seconds=0.3))
    tokens.authenticate(secret)
    elapsed.now_s += 0.29
    assert tokens.known(secret) is not None
    elapsed.now_s += 0.02
    assert tokens.known(secret) is None


def test_a_token_that_is_not_valid_is_never_known(store: MemoryStore, tokens: RecentTokens) -> None:
    secret, _ = made(store)
    tokens.authenticate(secret)
    wrong = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    for other in (wrong, secret[:-1], secret + "A", ""):
        assert tokens.known(other) is None
        with pytest.raises(AutoscorerError, match="not valid"):
            tokens.authenticate(other)
        assert tokens.known(other) is None


@pytest.mark.parametrize("forgets", [True, False])
def test_a_token_revoked_here_is_forgotten_at_once(
    store: MemoryStore, tokens: RecentTokens, forgets: bool
) -> None:
    secret, token_id = made(store)
    tokens.authenticate(secret)
    store.access.revoke(token_id)
    if forgets:
        tokens.forget()
    # The control: without `forget` it stays known, as one that another process revoked does for a second.
    assert (tokens.known(secret) is None) == forgets


@pytest.mark.parametrize("forgets", [True, False])
def test_a_token_revoked_while_the_store_is_asked_is_not_remembered(
    store: MemoryStore, tokens: RecentTokens, monkeypatch: pytest.MonkeyPatch, forgets: bool
) -> None:
    secret, token_id = made(store)
    ask = store.access.token_by_hash

    def ask_then_revoke(digest: str) -> StoredToken | None:
        found = ask(digest)
        store.access.revoke(token_id)
        if forgets:
            tokens.forget()
        return found

    monkeypatch.setattr(store.access, "token_by_hash", ask_then_revoke)
    tokens.authenticate(secret)
    assert (tokens.known(secret) is None) == forgets
