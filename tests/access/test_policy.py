"""Who may do what: the whole matrix, written out by hand."""

from __future__ import annotations

import itertools

import pytest

from autoscorer.access.policy import POLICY, Permission, Reach, may_grant
from autoscorer.access.principal import Principal
from autoscorer.store.records import Role
from autoscorer.utils.errors import AutoscorerError

# role -> what it may do to: a thing of its own, another's in its organisation, one of another organisation
MATRIX = {
    "operator": dict.fromkeys(Permission, "yes yes yes"),
    "organiser": {
        Permission.SUBMIT_JOBS: "yes yes no",
        Permission.READ_JOBS: "yes yes no",
        Permission.CONTROL_JOBS: "yes yes no",
        Permission.READ_SCORERS: "yes yes no",
        Permission.MANAGE_SCORERS: "yes yes no",
        Permission.READ_CALLBACKS: "yes yes no",
        Permission.RESEND_CALLBACKS: "yes yes no",
        Permission.MANAGE_TOKENS: "yes yes no",
    },
    "participant": {
        Permission.SUBMIT_JOBS: "yes no no",
        Permission.READ_JOBS: "yes no no",
        Permission.CONTROL_JOBS: "yes no no",
        Permission.READ_SCORERS: "yes yes no",
    },
    "viewer": {
        Permission.READ_JOBS: "yes yes no",
        Permission.READ_SCORERS: "yes yes no",
    },
}
THINGS = {"own": ("acme", "ada"), "another's": ("acme", "bob"), "another organisation's": ("other", "ada")}


def ada(role: Role) -> Principal:
    return Principal(organisation_id="acme", subject="ada", role=role, token_id="t")


@pytest.mark.parametrize(("role", "permission"), list(itertools.product(Role, Permission)))
def test_each_role_reaches_what_the_matrix_says(role: Role, permission: Permission) -> None:
    expected = MATRIX[role].get(permission)
    for (organisation_id, subject), answer in zip(
        THINGS.values(), (expected or "never never never").split(), strict=True
    ):
        assert answer_to(role, permission, organisation_id, subject) == answer


def answer_to(role: Role, permission: Permission, organisation_id: str, subject: str) -> str:
    try:
        ada(role).require(permission, organisation_id=organisation_id, subject=subject, what="job 7")
    except AutoscorerError as exc:
        return {"NOT_FOUND": "no", "FORBIDDEN": "never"}[exc.code]
    return "yes"


def test_what_one_may_not_see_is_answered_like_what_is_not_there() -> None:
    with pytest.raises(AutoscorerError) as caught:
        ada(Role.VIEWER).require(Permission.READ_JOBS, organisation_id="other", subject="eve", what="job 7")
    assert caught.value.message == "There is no job 7."
    assert "other" not in str(caught.value.to_dict())
    assert "eve" not in str(caught.value.to_dict())


def test_a_refusal_names_the_roles_that_may() -> None:
    with pytest.raises(AutoscorerError) as caught:
        ada(Role.VIEWER).reach(Permission.SUBMIT_JOBS)
    assert caught.value.message == (
        "A viewer may not submit jobs; that takes one of: operator, organiser, participant."
    )


@pytest.mark.parametrize(
    ("role", "narrowed"),
    [
        (Role.OPERATOR, (None, None)),
        (Role.ORGANISER, ("acme", None)),
        (Role.PARTICIPANT, ("acme", "ada")),
        (Role.VIEWER, ("acme", None)),
    ],
)
def test_a_list_is_narrowed_to_what_one_may_see(role: Role, narrowed: tuple[str | None, str | None]) -> None:
    assert ada(role).narrowed(Permission.READ_JOBS) == narrowed


def test_nobody_grants_more_than_they_have() -> None:
    granted = {(granter, given) for granter in Role for given in Role if may_grant(granter, given)}
    assert granted == {
        *((Role.OPERATOR, given) for given in Role),
        *((Role.ORGANISER, given) for given in (Role.ORGANISER, Role.PARTICIPANT, Role.VIEWER)),
    }


def test_every_role_stands_in_the_table() -> None:
    assert set(POLICY) == set(Role)
    assert list(Reach) == [Reach.OWN, Reach.ORGANISATION, Reach.EVERYTHING]  # from narrow to wide
