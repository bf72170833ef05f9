"""Tokens: list those of an organisation, make one (its secret is told once), revoke one."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal, not_found
from autoscorer.access.tokens import grant, revoke
from autoscorer.api.answers import Answer, answer
from autoscorer.api.deps import GivenService, make_router, may
from autoscorer.api.lookups import organisation_for
from autoscorer.api.service import Service
from autoscorer.api.views import iso_or_none
from autoscorer.schemas.envelope import iso
from autoscorer.schemas.job import Text
from autoscorer.schemas.service import TokenRequest, TokenView
from autoscorer.store.records import Organisation, Role, StoredToken

router = make_router("tokens", prefix="/api/v1/tokens")
Manager = Annotated[Principal, may(Permission.MANAGE_TOKENS)]


class TokenFilter(BaseModel):
    """Whose tokens; one's own organisation unless another is named."""

    model_config = ConfigDict(extra="forbid")

    organisation: Annotated[Text, Field(min_length=1, max_length=200)] | None = None


class TokenList(BaseModel):
    """Tokens, newest first, revoked ones too; never with their secret."""

    tokens: list[TokenView]


@router.get("", response_model=Answer[TokenList], summary="The tokens of an organisation")
def list_tokens(
    service: GivenService, principal: Manager, asked: Annotated[TokenFilter, Query()]
) -> Response:
    """Who holds one, with which role, until when."""
    organisation = organisation_for(service, principal, Permission.MANAGE_TOKENS, asked.organisation)
    found = service.store.access.tokens(organisation.organisation_id)
    return answer(TokenList(tokens=[_view(token, organisation) for token in found]))


@router.post("", response_model=Answer[TokenView], status_code=201, summary="Make a token")
def create_token(service: GivenService, principal: Manager, asked: TokenRequest) -> Response:
    """`secret` is in this answer and never told again. Nobody grants more than they have."""
    organisation = organisation_for(service, principal, Permission.MANAGE_TOKENS, asked.organisation)
    made = grant(
        service.store,
        principal,
        subject=asked.subject,
        role=Role(asked.role),
        organisation_id=organisation.organisation_id,
        valid_for=timedelta(days=asked.valid_days) if asked.valid_days is not None else None,
    )
    return answer(_view(made.stored, organisation, secret=made.secret), status=201)


@router.delete("/{token_id}", response_model=Answer[TokenView], summary="Revoke a token")
def revoke_token(service: GivenService, principal: Manager, token_id: str) -> Response:
    """It is worth nothing from now on; to other processes of the service within a second. Done twice is
    done once."""
    organisation, token = _find(service, principal, token_id)
    try:
        revoked = revoke(service.store, principal, token)
    finally:  # also when the store broke off: it may have come that far
        service.tokens.forget()
    return answer(_view(revoked, organisation))


def _find(service: Service, principal: Principal, token_id: str) -> tuple[Organisation, StoredToken]:
    """A token within reach and whose it is. Raises NOT_FOUND."""
    within, _ = principal.narrowed(Permission.MANAGE_TOKENS)
    for organisation in service.store.access.organisations():
        if within in (None, organisation.organisation_id):
            for token in service.store.access.tokens(organisation.organisation_id):
                if token.token_id == token_id:
                    return organisation, token
    raise not_found(f"token {token_id[:100]}")


def _view(token: StoredToken, organisation: Organisation, *, secret: str | None = None) -> TokenView:
    return TokenView(
        token_id=token.token_id,
        organisation=organisation.name,
        subject=token.subject,
        role=token.role,
        prefix=token.prefix,
        created_at=iso(token.created_at),
        expires_at=iso_or_none(token.expires_at),
        revoked_at=iso_or_none(token.revoked_at),
        secret=secret,
    )
