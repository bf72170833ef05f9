"""The images that are attacks themselves, written by hand and loaded when first asked for."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.imaging import ARCHITECTURE, busybox_layer, write_archive

FOREIGN = "arm64" if ARCHITECTURE == "amd64" else "amd64"
HEALTH_CHECK = {"Test": ["CMD-SHELL", "touch /workspace/output/health"], "Interval": 10**8, "Retries": 100}
# What follows `+` in an attack's image: the run configuration of a busybox image.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "volume": {"Volumes": {"/data": {}}},
    "preload": {"Env": ["PATH=/bin", "LD_PRELOAD=/proc/self/cwd/evil.so"]},
    "health": {"Healthcheck": HEALTH_CHECK},
    "root": {"User": "0:0"},
    "no-entry": {"Entrypoint": ["/no/such/program"]},
    "foreign": {},
    "plain": {},
}


@dataclass
class Images:
    """Images of this test process on one engine; tags of another process are another's."""

    engine: Any
    _tags: dict[str, str] = field(default_factory=dict)

    def name(self, image: str) -> str:
        """The name to put into a job: ``image`` itself, or the one its recipe got."""
        if not image.startswith("+"):
            return image
        if image not in self._tags:
            recipe = image[1:]
            self._tags[image] = tag = f"autoscorer-test/{recipe}:{os.getpid()}"
            architecture = FOREIGN if recipe == "foreign" else ARCHITECTURE
            self.load(tag, config=RECIPES[recipe], architecture=architecture)
        return self._tags[image]

    def load(self, *tags: str, config: Mapping[str, Any], architecture: str = ARCHITECTURE) -> str:
        """Load a busybox image of this configuration under these tags; its id."""
        archive = io.BytesIO()
        identity = write_archive(
            archive, [busybox_layer()], tags=tags, config=config, architecture=architecture
        )
        for _ in self.engine.api.load_image(archive.getvalue()):
            pass
        return identity

    def remove(self) -> None:
        for tag in self._tags.values():
            self.engine.api.remove_image(tag, force=True)
        self._tags.clear()
