"""What the commands that talk to the service have in common: which service, which token, which workspace."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from autoscorer.commands._frame import Frame, usage_error

if TYPE_CHECKING:
    from autoscorer.api.beacon import Beacon
    from autoscorer.client import Client

TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="The task's id, as `submit` showed it.")]


def open_client(frame: Frame) -> Client:
    """A client of the service that SERVICE_URL names; it is closed with the frame.

    Raises UNAUTHENTICATED when no token is to be had, CONFIG_VALIDATION_ERROR without the extra `client`.
    """
    from autoscorer.client import Client

    url = frame.settings.service_url
    return frame.resources.enter_context(Client(url, _token(frame, url)))


def workspace_name(frame: Frame, given: str) -> str:
    """A workspace as the service knows it: below its WORKSPACE_ROOT.

    A folder that is there, from the working directory on, is meant as that folder; anything else is taken
    for a name below WORKSPACE_ROOT already. A usage error for a folder that lies outside of it.
    """
    root = frame.settings.workspace_root
    if root is None and (beacon := _beacon(frame.settings.service_url)) is not None:
        root = beacon.workspace_root
    here = Path(given)
    if root is None or not here.is_dir():
        return given
    folder, root = here.resolve(), root.resolve()
    if folder.is_relative_to(root):
        return folder.relative_to(root).as_posix()
    if here.is_absolute() or not (root / given).is_dir():
        usage_error(f"{given} lies outside of the service's WORKSPACE_ROOT {root}; put it below that")
    return given


def _token(frame: Frame, url: str) -> str:
    from autoscorer.utils.errors import AutoscorerError

    if frame.settings.service_token is not None:
        return frame.settings.service_token
    if not is_here(url):
        message = f"there is no token for {url}; set SERVICE_TOKEN to one of that service"
        raise AutoscorerError("UNAUTHENTICATED", message)
    beacon = _beacon(url)
    if beacon is None:  # whoever listens there now may be somebody else, and would be given the token
        message = (
            f"no `autoscorer serve` of yours is known to listen at {url}, so the operator's token is not "
            "sent there: start it, or set SERVICE_TOKEN"
        )
        raise AutoscorerError("UNAUTHENTICATED", message)
    try:
        return beacon.token_path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as exc:
        message = f"the token of {url} cannot be read from {beacon.token_path}; set SERVICE_TOKEN"
        raise AutoscorerError("UNAUTHENTICATED", message) from exc


def _beacon(url: str) -> Beacon | None:
    from autoscorer.api.beacon import seen

    return seen(url) if is_here(url) else None


def is_here(url: str) -> bool:
    """Whether an address is one of this machine alone: our operator's token is sent nowhere else."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
