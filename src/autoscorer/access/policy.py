"""The one table of what each role may do, and how far it reaches."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from autoscorer.store.records import Role


class Permission(StrEnum):
    """Something one may be allowed to do. The words complete "may not …" in a refusal."""

    SUBMIT_JOBS = "submit jobs"
    READ_JOBS = "read jobs"
    CONTROL_JOBS = "cancel or retry jobs"
    READ_SCORERS = "read scorers"
    MANAGE_SCORERS = "load scorers"
    READ_CALLBACKS = "read callbacks"
    RESEND_CALLBACKS = "send callbacks again"
    MANAGE_TOKENS = "manage tokens"
    MANAGE_ORGANISATIONS = "manage organisations"
    OPERATE = "operate the service"


class Reach(StrEnum):
    """Whose things a permission is about: one's own, those of one's organisation, those of all."""

    OWN = "own"
    ORGANISATION = "organisation"
    EVERYTHING = "everything"


_EVERYWHERE = dict.fromkeys(Permission, Reach.EVERYTHING)

POLICY: Mapping[Role, Mapping[Permission, Reach]] = {
    Role.OPERATOR: _EVERYWHERE,
    Role.ORGANISER: {
        Permission.SUBMIT_JOBS: Reach.ORGANISATION,
        Permission.READ_JOBS: Reach.ORGANISATION,
        Permission.CONTROL_JOBS: Reach.ORGANISATION,
        Permission.READ_SCORERS: Reach.ORGANISATION,
        # A scorer runs with the platform's reach: whoever loads one is trusted like an organiser is.
        Permission.MANAGE_SCORERS: Reach.ORGANISATION,
        Permission.READ_CALLBACKS: Reach.ORGANISATION,
        Permission.RESEND_CALLBACKS: Reach.ORGANISATION,
        Permission.MANAGE_TOKENS: Reach.ORGANISATION,
    },
    Role.PARTICIPANT: {
        Permission.SUBMIT_JOBS: Reach.OWN,
        Permission.READ_JOBS: Reach.OWN,
        Permission.CONTROL_JOBS: Reach.OWN,
        Permission.READ_SCORERS: Reach.ORGANISATION,
    },
    Role.VIEWER: {
        Permission.READ_JOBS: Reach.ORGANISATION,
        Permission.READ_SCORERS: Reach.ORGANISATION,
    },
}


def roles_that_may(permission: Permission) -> tuple[Role, ...]:
    """The roles that have ``permission`` over anything at all."""
    return tuple(role for role in Role if permission in POLICY[role])


def may_grant(granter: Role, granted: Role) -> bool:
    """Whether a ``granter`` may make a token with ``granted``: nobody grants more than they have."""
    own, given = POLICY[granter], POLICY[granted]
    order = list(Reach)
    return Permission.MANAGE_TOKENS in own and all(
        permission in own and order.index(own[permission]) >= order.index(reach)
        for permission, reach in given.items()
    )
