"""Organisations: whose jobs and tokens are whose."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel
from starlette.responses import Response

from autoscorer.access.folders import home_of
from autoscorer.access.policy import Permission
from autoscorer.access.principal import Principal
from autoscorer.api.answers import Answer, answer
from autoscorer.api.deps import GivenService, make_router, may
from autoscorer.schemas.envelope import iso
from autoscorer.schemas.service import OrganisationRequest, OrganisationView
from autoscorer.store.records import Organisation

router = make_router("organisations", prefix="/api/v1/organisations")
Manager = Annotated[Principal, may(Permission.MANAGE_ORGANISATIONS)]


class OrganisationList(BaseModel):
    """All of them, by name."""

    organisations: list[OrganisationView]


@router.get("", response_model=Answer[OrganisationList], summary="All organisations")
def list_organisations(service: GivenService, principal: Manager) -> Response:
    """Each with its folder below WORKSPACE_ROOT."""
    found = sorted(service.store.access.organisations(), key=lambda organisation: organisation.name)
    return answer(OrganisationList(organisations=[_view(organisation) for organisation in found]))


@router.post("", response_model=Answer[OrganisationView], status_code=201, summary="Make an organisation")
def create_organisation(service: GivenService, principal: Manager, asked: OrganisationRequest) -> Response:
    """Its folder is made with its first workspace."""
    return answer(_view(service.store.access.add_organisation(asked.name)), status=201)


def _view(organisation: Organisation) -> OrganisationView:
    return OrganisationView(
        organisation_id=organisation.organisation_id,
        name=organisation.name,
        folder=str(home_of(organisation.name)),
        created_at=iso(organisation.created_at),
    )
