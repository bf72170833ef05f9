"""Who makes a request, and the checks it has to pass."""

from __future__ import annotations

from dataclasses import dataclass

from autoscorer.access.policy import POLICY, Permission, Reach, roles_that_may
from autoscorer.store.records import Role
from autoscorer.utils.errors import AutoscorerError


@dataclass(frozen=True, kw_only=True)
class Principal:
    """The holder of a valid token."""

    organisation_id: str
    subject: str
    role: Role
    token_id: str

    def reach(self, permission: Permission) -> Reach:
        """How far ``permission`` reaches for this role. Raises FORBIDDEN if it has none."""
        reach = POLICY[self.role].get(permission)
        if reach is None:
            raise _forbidden(self.role, permission)
        return reach

    def require(
        self, permission: Permission, *, organisation_id: str, subject: str | None, what: str
    ) -> None:
        """Raise unless this principal has ``permission`` over a thing of that organisation and subject.

        FORBIDDEN if the role never has it. NOT_FOUND if it has, but not over this thing: the answer is the
        same as for a thing that does not exist, ``what`` naming it as the request did.
        """
        reach = self.reach(permission)
        allowed = {
            Reach.EVERYTHING: True,
            Reach.ORGANISATION: organisation_id == self.organisation_id,
            Reach.OWN: (organisation_id, subject) == (self.organisation_id, self.subject),
        }
        if not allowed[reach]:
            raise not_found(what)

    def narrowed(self, permission: Permission) -> tuple[str | None, str | None]:
        """The organisation and the subject a list is to be narrowed to; None does not narrow."""
        reach = self.reach(permission)
        organisation_id = None if reach is Reach.EVERYTHING else self.organisation_id
        return organisation_id, self.subject if reach is Reach.OWN else None


def not_found(what: str) -> AutoscorerError:
    """The one answer about a thing that is not there, or not for this principal."""
    return AutoscorerError("NOT_FOUND", f"There is no {what}.")


def _forbidden(role: Role, permission: Permission) -> AutoscorerError:
    able = ", ".join(roles_that_may(permission))
    message = f"{_ARTICLES[role]} {role} may not {permission}; that takes one of: {able}."
    return AutoscorerError("FORBIDDEN", message, {"role": role, "permission": permission.name.lower()})


_ARTICLES = {role: "An" if role[0] in "aeiou" else "A" for role in Role}
