"""What a client does besides jobs: scorers, tokens, organisations, callbacks."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

from autoscorer.client.answers import read_view
from autoscorer.client.connection import Connection, in_path
from autoscorer.schemas.service import (
    CallbackSecretView,
    CallbackView,
    OrganisationView,
    TokenRequest,
    TokenView,
)

View = TypeVar("View", bound=BaseModel)
TOKENS, ORGANISATIONS, CALLBACKS = "/api/v1/tokens", "/api/v1/organisations", "/api/v1/callbacks"


class AdministrationCalls:
    """The part of `Client` that is about the service itself. Every call raises AutoscorerError."""

    _connection: Connection

    def scorers(self) -> list[dict[str, Any]]:
        """The scorers that jobs may name, each with what it says of itself."""
        found = self._connection.get("/scorers").get("scorers")
        return found if isinstance(found, list) else []

    def load_scorer(self, file_path: str, *, replace: bool = False) -> dict[str, Any]:
        """Load a file or package folder below the service's SCORERS_DIR, for every job from now on."""
        return self._connection.repeat("POST", "/scorers/load", {"file_path": file_path, "replace": replace})

    def tokens(self, organisation: str | None = None) -> list[TokenView]:
        """The tokens of an organisation, one's own unless another is named; revoked ones too."""
        return self._views(TokenView, TOKENS, "tokens", organisation=organisation)

    def create_token(
        self,
        subject: str,
        role: str,
        *,
        organisation: str | None = None,
        valid_days: float | None = None,
    ) -> TokenView:
        """A new token. Its ``secret`` is in this answer and never told again."""
        asked = TokenRequest.model_validate(
            {"subject": subject, "role": role, "organisation": organisation, "valid_days": valid_days}
        )
        made = self._connection.post(TOKENS, asked.model_dump())
        return read_view(TokenView, made, where=f"{self._connection.url}{TOKENS}")

    def revoke_token(self, token_id: str) -> TokenView:
        """Make a token worth nothing, for ever."""
        path = f"{TOKENS}/{in_path(token_id)}"
        return read_view(TokenView, self._connection.repeat("DELETE", path), where=self._connection.url)

    def organisations(self) -> list[OrganisationView]:
        """Those that this token may see."""
        return self._views(OrganisationView, ORGANISATIONS, "organisations")

    def create_organisation(self, name: str) -> OrganisationView:
        """A new organisation, with a folder of its own below WORKSPACE_ROOT. Raises CONFLICT."""
        made = self._connection.post(ORGANISATIONS, {"name": name})
        return read_view(OrganisationView, made, where=self._connection.url)

    def callbacks(self, *, state: str | None = None) -> list[CallbackView]:
        """Messages to receivers, newest first; ``state``: pending, delivered or dead."""
        return self._views(CallbackView, CALLBACKS, "callbacks", state=state)

    def callback_secret(self, organisation: str | None = None) -> CallbackSecretView:
        """What receivers verify callbacks with, of one's own organisation unless another is named."""
        told = self._connection.get(f"{CALLBACKS}/secret", {"organisation": organisation})
        return read_view(CallbackSecretView, told, where=self._connection.url)

    def resend(self, callback_id: str) -> CallbackView:
        """Send a message once more, whatever became of it."""
        path = f"{CALLBACKS}/{in_path(callback_id)}/resend"
        return read_view(CallbackView, self._connection.repeat("POST", path), where=self._connection.url)

    def _views(self, kind: type[View], path: str, key: str, **query: Any) -> list[View]:
        found = self._connection.get(path, query).get(key) or ()
        return [read_view(kind, one, where=f"{self._connection.url}{path}") for one in found]
