"""Where a service is and what it works with, for whoever started it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoscorer.api.beacon import Beacon
from autoscorer.schemas.envelope import Warning_
from autoscorer.utils.config import Settings

NO_TLS, NO_BACKEND = "NO_TLS", "NO_BACKEND"


@dataclass(frozen=True, kw_only=True)
class Site:
    """``slots`` is how many jobs its own worker runs at once, 0 where workers are processes of their own.

    ``backends``: each that jobs may name, and ``preferred``, which runs those that name none; why it cannot
    be used, None for one that can.
    """

    beacon: Beacon
    settings: Settings
    listens_on: str
    is_loopback: bool
    slots: int
    backends: Mapping[str, str | None]
    preferred: str

    @property
    def url(self) -> str:
        return self.beacon.url

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, without secrets."""
        scorers_dir = self.settings.scorers_dir
        return {
            "url": self.url,
            "token_path": str(self.beacon.token_path),
            "workspace_root": str(self.beacon.workspace_root),
            "scorers_dir": None if scorers_dir is None else str(scorers_dir),
            "data_dir": str(self.settings.data_dir),
            "slots": self.slots,
            "backends": dict(self.backends),
        }

    def warnings(self) -> list[Warning_]:
        """What works and yet should be known."""
        found = []
        if not self.is_loopback:
            text = (
                f"{self.listens_on} can be reached from other machines, and what is sent, tokens too, "
                "is not encrypted; have a server with TLS before it, and name its host in API_ALLOWED_HOSTS"
            )
            found.append(Warning_(code=NO_TLS, message=text))
        if self.slots and (why := self.backends[self.preferred]):
            text = f"jobs that name no backend will fail, but `score`: {self.preferred}: {why}"
            usable = [name for name, missing in self.backends.items() if missing is None]
            others = f"; those that name {' or '.join(usable)} can run" if usable else ""
            found.append(Warning_(code=NO_BACKEND, message=text + others))
        return found
