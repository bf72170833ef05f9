"""All that can be checked before a job starts, every fault at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from autoscorer import staging
from autoscorer.reading.source import Role, find_source
from autoscorer.scheduler import resolve_limits
from autoscorer.schemas.envelope import Warning_
from autoscorer.schemas.job import JobSpec, SpecFault, spec_error
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.view import file_names
from autoscorer.utils.config import Settings
from autoscorer.utils.errors import AutoscorerError
from autoscorer.workspace import TRUTH_NAMES, Workspace

Checked = TypeVar("Checked")


def validate(
    workspace_path: str | Path, settings: Settings, catalog: Catalog
) -> tuple[JobSpec, list[Warning_]]:
    """Check all that can be checked before a job starts; returns the spec and what to be warned of.

    Raises CONFIG_VALIDATION_ERROR with every fault found; a single fault of another kind
    (SCORER_NOT_FOUND, LIMIT_EXCEEDED) keeps its own code.
    """
    workspace = Workspace.open(workspace_path)
    found: list[AutoscorerError] = []
    structure = workspace.structure_faults()
    if structure:
        found.append(spec_error(structure, cause="workspace"))
    spec = _collected(found, workspace.load_spec)
    checked, trusted = (spec, set(JobSpec.model_fields)) if spec else _rest_of(workspace, found)
    if checked is not None:
        _check_spec(found, workspace, checked, trusted, settings=settings, catalog=catalog)
    if spec is None or found:
        raise found[0] if len(found) == 1 else spec_error(_as_faults(found))
    return spec, exposure_warnings(workspace, spec, settings, catalog)


def _rest_of(workspace: Workspace, found: list[AutoscorerError]) -> tuple[JobSpec | None, set[str]]:
    """What is left of a faulty specification, so that its other faults are found too, and its fields."""
    fields = [fault["field"] for fault in found[-1].details["faults"]]
    if "meta.json" in fields:
        return None, set()
    faulty = {field.split(".")[0] for field in fields}
    left = {key: value for key, value in workspace.raw_spec().items() if key not in faulty}
    trusted = set(JobSpec.model_fields) & set(left)
    required = {"job_id": "unknown", "task_type": "unknown", "scorer": "unknown"}
    try:
        return JobSpec.from_value({**required, **{key: left[key] for key in trusted}}), trusted
    except AutoscorerError:
        return None, set()


def _check_spec(
    found: list[AutoscorerError],
    workspace: Workspace,
    spec: JobSpec,
    trusted: set[str],
    *,
    settings: Settings,
    catalog: Catalog,
) -> None:
    """Every check of the parts of ``spec`` that are ``trusted`` to be what the author wrote."""
    if _collected(found, lambda: staging.output_dir(workspace, spec)) is not None:
        _collected(found, lambda: staging.input_dir(workspace, spec, shared_root=settings.workspace_root))
    _collected(found, lambda: resolve_limits(spec, settings))
    if "scorer" not in trusted:
        return
    entry = _collected(found, lambda: catalog.find(spec.scorer))
    if entry is not None:
        _collected(found, lambda: catalog.check_params(entry, spec.scorer_params))
    names = file_names(entry.card, Role.REFERENCE) if entry else TRUTH_NAMES
    _collected(found, lambda: find_source(workspace.root, Role.REFERENCE, names).check())


def _collected(found: list[AutoscorerError], check: Callable[[], Checked]) -> Checked | None:
    """What ``check`` returns; an error it raises goes to ``found`` instead."""
    try:
        return check()
    except AutoscorerError as exc:
        found.append(exc)
        return None


def _as_faults(errors: list[AutoscorerError]) -> list[SpecFault]:
    faults: list[SpecFault] = []
    for error in errors:
        listed = error.details.get("faults")
        faults += (
            [SpecFault(**fault) for fault in listed] if listed else [SpecFault(error.code, error.message)]
        )
    return faults


def exposure_warnings(
    workspace: Workspace, spec: JobSpec, settings: Settings, catalog: Catalog
) -> list[Warning_]:
    """GROUND_TRUTH_EXPOSED where the program can read the truth."""
    try:
        shown = staging.input_dir(workspace, spec, shared_root=settings.workspace_root)
    except AutoscorerError:
        return []  # nothing will be shown: the job fails by this fault
    return [
        Warning_(
            code="GROUND_TRUTH_EXPOSED",
            message=f"{name} can be read by the program; move the truth to reference/",
        )
        for name in workspace.exposed_truth(shown, _truth_names(spec, catalog))
    ]


def _truth_names(spec: JobSpec, catalog: Catalog) -> Sequence[str]:
    """What the job's scorer calls the truth, and the usual names."""
    try:
        return sorted({*TRUTH_NAMES, *file_names(catalog.find(spec.scorer).card, Role.REFERENCE)})
    except AutoscorerError:
        return TRUTH_NAMES
