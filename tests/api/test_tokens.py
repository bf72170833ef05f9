"""A token that was revoked opens nothing from the next request on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoscorer.access.recent import RecentTokens
from tests.api.sites import ApiSite


@pytest.mark.parametrize("over_http", [True, False])
def test_a_token_revoked_over_http_is_refused_at_once(api: ApiSite, over_http: bool) -> None:
    # No time passes for what is remembered, so that only forgetting can end it.
    api.app.state.service = replace(api.service, tokens=RecentTokens(api.store, elapsed=lambda: 0.0))
    assert api.ask("GET", "/api/v1/jobs", subject="leaver").status_code == 200
    home = api.organisation("default")
    (token,) = (known for known in api.store.access.tokens(home) if known.subject == "leaver")
    if over_http:
        assert api.ask("DELETE", f"/api/v1/tokens/{token.token_id}").status_code == 200
    else:  # the control: another process did it, and this one remembers
        api.store.access.revoke(token.token_id)
    answer = api.ask("GET", "/api/v1/jobs", subject="leaver")
    assert answer.status_code == (401 if over_http else 200)
