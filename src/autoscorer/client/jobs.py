"""What a client does with jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict, Unpack
from urllib.parse import urlsplit
from uuid import uuid4

from autoscorer.client.answers import read_failure, read_view
from autoscorer.client.connection import Connection, in_path
from autoscorer.client.downloads import download
from autoscorer.client.log_reading import LogReader
from autoscorer.client.packing import chunks, opened_archive
from autoscorer.client.watching import PATIENCE_S, OnEvent, Patience, Watch, list_events
from autoscorer.schemas.result import Result
from autoscorer.schemas.service import ActionName, ArtifactView, EventView, JobView, UploadView
from autoscorer.utils.errors import AutoscorerError

_API = "/api/v1/"
JOBS = "/api/v1/jobs"


class Asked(TypedDict, total=False):
    """What may be said of any job: parameters of its scorer, another scorer (a name or `name@sha256`), a
    backend, who is told of its end, and how soon (the higher, the sooner; 0 if not said)."""

    params: Mapping[str, Any] | None
    scorer: str | None
    backend: str | None
    callback_url: str | None
    priority: int


class JobCalls:
    """The part of `Client` that is about jobs. Every call raises AutoscorerError."""

    _connection: Connection

    def submit(
        self,
        workspace: str,
        action: ActionName = "pipeline",
        *,
        spec: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        **asked: Unpack[Asked],
    ) -> JobView:
        """Have a job done; does not wait for it.

        ``workspace`` starts at the service's WORKSPACE_ROOT; with ``spec`` a copy of it gets that as its
        `meta.json`. The job of a workspace that has one already is that one. A key is made for every call,
        so that one whose answer is lost makes no second job; give your own to be sure over several calls.
        """
        body = {"workspace": workspace, "action": action, "spec": spec, **asked}
        made = self._connection.post(JOBS, body, key=idempotency_key or str(uuid4()))
        return self._view(made)

    def job(self, task_id: str) -> JobView:
        """A job as it stands. Raises NOT_FOUND, too, for one that this token may not see."""
        return self._view(self._connection.get(_at(task_id)))

    def jobs(
        self,
        *,
        states: tuple[str, ...] = (),
        workspace: str | None = None,
        job_id: str | None = None,
        submitted_by: str | None = None,
        page_size: int = 100,
    ) -> Iterator[JobView]:
        """The jobs that this token may see, newest first, asked for page by page as they are taken."""
        query: dict[str, Any] = {
            "state": list(states),
            "workspace": workspace,
            "job_id": job_id,
            "submitted_by": submitted_by,
            "limit": page_size,
        }
        while True:
            page = self._connection.get(JOBS, query)
            yield from map(self._view, page.get("jobs") or ())
            if page.get("next") is None:
                return
            query["before"] = page["next"]

    def wait(
        self,
        task_id: str,
        *,
        timeout_s: float | None = None,
        on_event: OnEvent = lambda _event: None,
        outage_s: float = PATIENCE_S,
    ) -> JobView:
        """The job once it has ended, however that was; ``on_event`` hears what happens until then.

        Goes on after the connection broke off, and while the service is away for up to ``outage_s``.
        Raises TimeoutError when the job has not ended within ``timeout_s``; it goes on.
        """
        return Watch(self._connection, task_id, Patience(timeout_s, outage_s)).end(on_event)

    def events(self, task_id: str, *, after: int = 0, follow: bool = False) -> Iterator[EventView]:
        """What has happened to a job since event number ``after``.

        With ``follow`` also what happens, as it does, until the job has ended; goes on as `wait` does.
        """
        if follow:
            return Watch(self._connection, task_id, Patience(), after=after).events()
        return list_events(self._connection, f"{_at(task_id)}/events", after=after)

    def log(self, task_id: str, *, follow: bool = False) -> Iterator[bytes]:
        """What a job's container has printed, byte for byte, in pieces.

        With ``follow`` also what it prints, as it does, until the job has ended; goes on as `wait` does.
        Raises NOT_FOUND for a job that runs none, or has printed nothing yet.
        """
        return LogReader(self._connection, task_id, Patience()).pieces(follow=follow)

    def cancel(self, task_id: str) -> JobView:
        """End a job, or the wait for its start. One that has ended stays as it is."""
        return self._view(self._connection.repeat("POST", f"{_at(task_id)}/cancel"))

    def retry(self, task_id: str) -> JobView:
        """Have a job that failed or was cancelled done once more. Raises CONFLICT for another."""
        return self._view(self._connection.post(f"{_at(task_id)}/retry"))

    def result(self, task_id: str) -> Result:
        """The result of a job that was scored, its address and artifacts as this token may see them."""
        answer = self._connection.get(f"{_at(task_id)}/result")
        return read_view(Result, answer.get("result"), where=self._where(task_id))

    def artifacts(self, task_id: str) -> list[ArtifactView]:
        """The files of a job's result."""
        found = self._connection.get(f"{_at(task_id)}/artifacts").get("artifacts") or ()
        return [read_view(ArtifactView, one, where=self._where(task_id)) for one in found]

    def download(self, artifact: ArtifactView, target: str | Path) -> Path:
        """An artifact as the file ``target``: whole, with the hash its result names, or not at all.

        One that broke off is taken up again from ``<target>.part``.
        """
        # Whatever host the address names, our token goes to our service only.
        path = _API + urlsplit(artifact.url).path.partition(_API)[2]
        return download(self._connection, path, artifact, Path(target))

    def upload(self, source: str | Path, *, base: str | None = None) -> UploadView:
        """Send a folder or an archive (.tar, .tar.gz, .zip) to become a workspace, whose name `submit` takes.

        ``base``: a workspace of the service whose other parts, such as its truth, the new one shares.
        """
        with opened_archive(Path(source)) as (file, kind):
            path = "/api/v1/workspaces" + (f"?base={in_path(base)}" if base else "")
            answer = self._connection.send(path, chunks(file), headers={"Content-Type": kind})
        return read_view(UploadView, answer, where=self._connection.url)

    def run(self, workspace: str, *, timeout_s: float | None = None, **asked: Unpack[Asked]) -> JobView:
        """Run a workspace's program and wait for its end; ``asked`` as for `submit`.

        Raises the job's own error if it fails, TimeoutError as `wait`.
        """
        job = self.submit(workspace, "run", **asked)
        return self._succeeded(self.wait(job.task_id, timeout_s=timeout_s))

    def score(self, workspace: str, *, timeout_s: float | None = None, **asked: Unpack[Asked]) -> Result:
        """Score what is in a workspace's `output/`; the result. Raises as `run`."""
        job = self.submit(workspace, "score", **asked)
        return self.result(self._succeeded(self.wait(job.task_id, timeout_s=timeout_s)).task_id)

    def pipeline(self, workspace: str, *, timeout_s: float | None = None, **asked: Unpack[Asked]) -> Result:
        """Run a workspace's program, then score what it wrote; the result. Raises as `run`."""
        job = self.submit(workspace, "pipeline", **asked)
        return self.result(self._succeeded(self.wait(job.task_id, timeout_s=timeout_s)).task_id)

    def _succeeded(self, job: JobView) -> JobView:
        if (error := failure_of(job)) is not None:
            raise error
        return job

    def _view(self, value: Any) -> JobView:
        return read_view(JobView, value, where=f"{self._connection.url}{JOBS}")

    def _where(self, task_id: str) -> str:
        return f"{self._connection.url}{_at(task_id)}"


def failure_of(job: JobView) -> AutoscorerError | None:
    """Why an ended job did not succeed, None of any other."""
    if not job.is_final or job.state == "succeeded":
        return None
    told = read_failure(job.error, {"task_id": job.task_id})
    return told or AutoscorerError("CANCELLED", f"job {job.task_id} was cancelled", {"task_id": job.task_id})


def _at(task_id: str) -> str:
    return f"{JOBS}/{in_path(task_id)}"
