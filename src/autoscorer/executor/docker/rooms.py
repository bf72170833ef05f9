"""Where the data of one attempt lie: what every transport offers, and the workspace's own folders."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from autoscorer.executor.base import AttemptPlan
from autoscorer.executor.docker.output_cap import make_output
from autoscorer.executor.docker.planning import HOSTS, Prepared
from autoscorer.harvest import Harvest, HarvestPolicy, harvest


class Room(Protocol):
    """Close it always; safe to call twice."""

    @property
    def transport(self) -> str:
        """As DOCKER_TRANSPORT calls it."""

    @property
    def prepared(self) -> Prepared:
        """Where the engine has everything."""

    @property
    def output_dir(self) -> Path:
        """A folder of ours: what the program writes, or nothing where that is elsewhere."""

    def breach(self, *, at_end: bool = False) -> Mapping[str, Any] | None:
        """What was written, if that is more than allowed; to be asked as often as one likes."""

    def take(self, target: Path, policy: HarvestPolicy) -> Harvest:
        """Harvest what the program wrote, when it runs no more."""

    def close(self) -> bool:
        """Take everything away; whether it is gone."""


class SharedRoom:
    """The transport *bind*: the engine mounts our folders."""

    transport = "bind"

    def __init__(self, plan: AttemptPlan, name: str, *, capped: bool) -> None:
        self._plan = plan
        self._made = ExitStack()
        # Their names cannot be guessed: the hash in the attempt's name is over a random number.
        self._spec_copy = plan.attempt_dir / f"meta-{name}.json"
        self._hosts = plan.attempt_dir / f"hosts-{name}"
        self._name = name
        for path in (self._spec_copy, self._hosts):
            self._made.callback(path.unlink, missing_ok=True)
        try:
            shutil.copyfile(plan.spec_path, self._spec_copy)
            self._hosts.write_text(HOSTS, encoding="ascii")
            for path in (self._spec_copy, self._hosts):
                path.chmod(0o644)
            self._output = make_output(plan, capped=capped)
        except BaseException:  # clean-up: nobody has the room yet who would close it
            self._made.close()
            raise

    @property
    def prepared(self) -> Prepared:
        return Prepared(
            name=self._name,
            input_dir=self._plan.input_dir,
            out_dir=self._output.path,
            spec_copy=self._spec_copy,
            hosts=self._hosts,
            output_is_capped=self._output.is_capped,
        )

    @property
    def output_dir(self) -> Path:
        return self._output.path

    def uncap(self) -> None:
        """A plain folder instead: an engine may share our files and not our mounts."""
        self._output.close()
        self._output = make_output(self._plan, capped=False)

    def breach(self, *, at_end: bool = False) -> Mapping[str, Any] | None:
        return self._output.breach(at_end=at_end)

    def take(self, target: Path, policy: HarvestPolicy) -> Harvest:
        return harvest(self._output.path, target, policy)

    def close(self) -> bool:
        try:
            self._made.close()
            self._output.close()
        except OSError:
            return False
        return True
