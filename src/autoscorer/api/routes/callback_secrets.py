"""The secrets that an organisation's receivers verify callbacks with."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal
from autoscorer.api.answers import Answer, answer
from autoscorer.api.deps import GivenService, make_router, may
from autoscorer.api.lookups import organisation_for
from autoscorer.maintenance.callbacks.secret import secrets_of
from autoscorer.schemas.job import Text
from autoscorer.schemas.service import CallbackSecretView

router = make_router("callbacks", prefix="/api/v1/callbacks")
Reader = Annotated[Principal, may(Permission.READ_CALLBACKS)]


class SecretFilter(BaseModel):
    """Whose secret; one's own organisation's unless another is named."""

    model_config = ConfigDict(extra="forbid")

    organisation: Annotated[Text, Field(min_length=1, max_length=200)] | None = None


@router.get("/secret", response_model=Answer[CallbackSecretView], summary="What callbacks are signed with")
def tell_secret(
    service: GivenService, principal: Reader, asked: Annotated[SecretFilter, Query()]
) -> Response:
    """For the receiver that verifies them. Another organisation's messages have another secret."""
    organisation = organisation_for(service, principal, Permission.READ_CALLBACKS, asked.organisation)
    settings = service.settings
    secrets = secrets_of(organisation.organisation_id, settings.callback_secrets, settings.data_dir)
    return answer(CallbackSecretView(organisation=organisation.name, secrets=list(secrets)))
