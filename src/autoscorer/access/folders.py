"""Where each organisation's folders are below WORKSPACE_ROOT.

WORKSPACE_ROOT/                           home of the first organisation, without what follows
WORKSPACE_ROOT/organisations/NAME/        home of another one
HOME/submissions/SUBJECT/                 what one participant may run
"""

from __future__ import annotations

from pathlib import PurePosixPath

from autoscorer.access.first import DEFAULT_ORGANISATION
from autoscorer.staging import ORGANISATIONS

SUBMISSIONS = "submissions"


def home_of(organisation: str) -> PurePosixPath:
    """The home of the organisation of that name, from WORKSPACE_ROOT on."""
    return (
        PurePosixPath()
        if organisation == DEFAULT_ORGANISATION
        else PurePosixPath(ORGANISATIONS, organisation)
    )
