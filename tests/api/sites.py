"""The API over a site of `tests.worker.sites`: organisations, people with tokens, a client to ask with."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from autoscorer import runtime
from autoscorer.access.first import first_organisation
from autoscorer.access.tokens import make_token
from autoscorer.api.app import create_app
from autoscorer.api.service import Service, make_service
from autoscorer.api.submissions import Submissions
from autoscorer.queues.store_queue import StoreQueue
from autoscorer.store.records import Job, Role
from autoscorer.store.sql_store import SqlStore
from tests.worker.sites import Site, make_site


@dataclass
class ApiSite:
    """A service whose requests are answered in this process. ``home`` is the first organisation's."""

    site: Site
    store: SqlStore
    service: Service
    app: FastAPI
    client: TestClient
    _tokens: dict[tuple[str, str, str], str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.site.root / "workspaces"

    def organisation(self, name: str) -> str:
        """The id of an organisation, made when it is not there."""
        found = self.store.access.organisation(name)
        return (found or self.store.access.add_organisation(name)).organisation_id

    def token(self, role: str = "organiser", *, subject: str = "ada", organisation: str = "default") -> str:
        """The secret of somebody's token, the same at every call."""
        key = (role, subject, organisation)
        if key not in self._tokens:
            made = make_token(
                organisation_id=self.organisation(organisation),
                subject=subject,
                role=Role(role),
                now=self.store.now().at,
            )
            self.store.access.add_token(made.stored)
            self._tokens[key] = made.secret
        return self._tokens[key]

    def ask(
        self,
        method: str,
        path: str,
        *,
        role: str = "organiser",
        subject: str = "ada",
        organisation: str = "default",
        headers: dict[str, str] | None = None,
        **given: Any,
    ) -> Any:
        """The answer to one request of somebody; ``json=``, ``params=`` and the like as httpx has them."""
        token = self.token(role, subject=subject, organisation=organisation)
        all_headers = {"Authorization": f"Bearer {token}", **(headers or {})}
        return self.client.request(method, path, headers=all_headers, **given)

    def workspace(self, program: str = "good", *, organisation: str = "default", **spec: Any) -> Path:
        """A new workspace in an organisation's home."""
        below = self.service.homes.home(self.organisation(organisation))
        return self.site.workspace(program, below=below, **spec)

    def name(self, folder: Path) -> str:
        """How a request names that workspace."""
        return str(folder.relative_to(self.home))

    def job(
        self,
        folder: Path | None = None,
        *,
        subject: str = "ada",
        organisation: str = "default",
        **fields: Any,
    ) -> Job:
        """A job in the store, of a new workspace unless one is given."""
        folder = folder or self.workspace(organisation=organisation)
        fields = {"spec": json.loads((folder / "meta.json").read_text()), **fields}
        return self.site.submit(
            self.store,
            folder,
            submitted_by=subject,
            organisation_id=self.organisation(organisation),
            **fields,
        )

    def drain(self) -> None:
        """Work on all that waits."""
        self.site.drain(self.store)

    def state(self, task_id: str) -> Job:
        found = self.store.jobs.get(task_id)
        assert found is not None
        return found

    @contextmanager
    def working(self) -> Iterator[None]:
        """A worker works meanwhile."""
        stop = threading.Event()
        queue = self.service.queue
        assert isinstance(queue, StoreQueue)
        worker = self.site.worker(self.store)
        thread = threading.Thread(target=lambda: queue.run(worker, slots=1, stop=stop, grace_s=30))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            queue.wake()
            thread.join()


def make_api_site(root: Path, *, url: str | None = None, **environ: str) -> ApiSite:
    """A new service in ``root``. Close it with `close_api_site`."""
    scorers = root / "scorers"
    scorers.mkdir(parents=True, exist_ok=True)
    environ = {"SCORERS_DIR": str(scorers), **environ}
    site = make_site(root, url, API_ALLOWED_HOSTS='["testserver", "localhost", "127.0.0.1"]', **environ)
    store = site.open_store()
    first_organisation(store)
    catalog = runtime.open_catalog(site.settings, isolate=True)
    service = make_service(site.settings, store=store, queue=StoreQueue(store), catalog=catalog)
    intake = replace(service.intake, backends=(*service.intake.backends, "stub"))
    service = replace(service, intake=intake, submissions=Submissions(intake))
    app = create_app(service)
    client = TestClient(app, raise_server_exceptions=False)
    return ApiSite(site, store, service, app, client)


def close_api_site(api: ApiSite) -> None:
    api.client.close()
    api.service.watches.close()
    api.service.catalog.close()
    api.site.close()
