"""The job specification: what `meta.json` holds."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from autoscorer.schemas.strict_json import parse_strict
from autoscorer.utils.config import parse_memory
from autoscorer.utils.errors import AutoscorerError

DEFAULT_TIME_LIMIT_S = 1800
MOST_FAULTS = 100
_MOST_TOLD = 1000


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    return text


def _memory(text: str) -> str:
    parse_memory(text)
    return text


Label = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Text = Annotated[StrictStr, AfterValidator(_no_nul), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})]
Uri = Annotated[Text, Field(min_length=1, max_length=1024)]
MemoryText = Annotated[StrictStr, AfterValidator(_memory)]
Cores = Annotated[float, Field(strict=True, gt=0), AllowInfNan(allow_inf_nan=False)]
EnvName = Annotated[StrictStr, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Resources(_Wire):
    """What the container may use. What is left out is the operator's default.

    ``cpu`` in cores, ``memory`` as text with a unit (``1Gi``), ``gpus`` a count.
    """

    cpu: Cores | None = None
    memory: MemoryText | None = None
    gpus: Annotated[StrictInt, Field(ge=0)] | None = None


class ContainerSpec(_Wire):
    """The participant's container. ``cmd`` empty means the image's own entry point."""

    image: Annotated[StrictStr, Field(min_length=1, max_length=512, pattern=r"^[!-~]+$")]
    cmd: list[Text] = Field(default_factory=list)
    env: dict[EnvName, Text] = Field(default_factory=dict)
    shm_size: MemoryText | None = None
    gpus: Annotated[StrictInt, Field(ge=0)] | None = None
    network_policy: Annotated[StrictStr, Field(min_length=1, max_length=128)] | None = None


@dataclass(frozen=True)
class SpecFault:
    """One fault of a specification or workspace: where, what is wrong, and what would be right."""

    field: str
    message: str
    suggestion: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" + (f" ({self.suggestion})" if self.suggestion else "")


class JobSpec(_Wire):
    """One job (SPEC J1). ``container`` may be left out where predictions are delivered."""

    job_id: Label
    task_type: Label
    scorer: Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,191}$")]
    input_uri: Uri = "file://./input"
    output_uri: Uri = "file://./output"
    time_limit: Annotated[StrictInt, Field(gt=0)] = DEFAULT_TIME_LIMIT_S
    resources: Resources = Field(default_factory=Resources)
    container: ContainerSpec | None = None
    scorer_params: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_gpu_count(self) -> Self:
        asked = self.container.gpus if self.container else None
        if asked is not None and asked != (self.resources.gpus or 0):
            raise ValueError(f"container.gpus is {asked} but resources.gpus is {self.resources.gpus or 0}")
        return self

    @classmethod
    def parse(cls, content: bytes) -> JobSpec:
        """The specification in ``content`` (UTF-8 JSON).

        Raises AutoscorerError CONFIG_VALIDATION_ERROR naming every fault (``details.faults``).
        """
        try:
            value = parse_strict(content)
        except UnicodeDecodeError as exc:
            raise spec_error([SpecFault("meta.json", "is not UTF-8 text", "save it as UTF-8")]) from exc
        except ValueError as exc:
            raise spec_error([SpecFault("meta.json", str(exc))]) from exc
        return cls.from_value(value)

    @classmethod
    def from_value(cls, value: Any) -> JobSpec:
        """As `parse`, from JSON that is already read."""
        try:
            return cls.model_validate(value)
        except ValidationError as exc:
            raise spec_error(told_faults(exc.errors(), _MODELS, whole="meta.json")) from exc


def spec_error(faults: Iterable[SpecFault], *, cause: str = "job_spec") -> AutoscorerError:
    """CONFIG_VALIDATION_ERROR that carries every fault, the first `MOST_FAULTS` of them with particulars."""
    listed = list(faults)
    message = "; ".join(str(fault) for fault in listed[:5])
    more = f"; and {len(listed) - 5} more" if len(listed) > 5 else ""
    details = {"faults": [fault.to_json() for fault in listed[:MOST_FAULTS]]}
    return AutoscorerError("CONFIG_VALIDATION_ERROR", message + more, details, cause=cause)


_MODELS: Mapping[str, type[BaseModel]] = {"": JobSpec, "resources": Resources, "container": ContainerSpec}


def told_faults(
    errors: Sequence[Any], models: Mapping[str, type[BaseModel]], *, whole: str
) -> list[SpecFault]:
    """pydantic's errors in our words. Beyond a thousand it is one fault that there are more: a suggestion
    for each of 100,000 unknown keys took a minute."""
    told = [told_fault(error, models, whole=whole) for error in errors[:_MOST_TOLD]]
    more = len(errors) - len(told)
    return [*told, SpecFault(whole, f"has {more} more faults")] if more > 0 else told


def told_fault(error: Any, models: Mapping[str, type[BaseModel]], *, whole: str) -> SpecFault:
    """A pydantic error in our words. ``models`` are those at each place, ``whole`` is what all of it is."""
    location = [str(part) for part in error["loc"]]
    field = ".".join(location) or whole
    given = error.get("input")
    match error["type"]:
        case "extra_forbidden":
            model = models.get(".".join(location[:-1]))
            known = list(model.model_fields) if model else []
            near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
            every = f"known: {', '.join(known) or 'none'}" if model else None
            return SpecFault(field, "unknown key", f"did you mean {near[0]!r}?" if near else every)
        case "missing":
            return SpecFault(field, "is required")
        case "value_error":
            text = str(error["ctx"]["error"])
            return SpecFault(field, f"{_shown(given)}: {text}" if location else text)
        case "model_type" | "model_attributes_type" | "dict_type":
            return SpecFault(field, f"must be a JSON object, not {_shown(given)}")
        case kind:
            return SpecFault(field, f"is {_shown(given)}: {_told(kind, error)}")


def _told(kind: str, error: Any) -> str:
    bounds = error.get("ctx", {})  # a model's own errors have what context they like
    if kind.endswith("too_short") and "min_length" in bounds:
        return f"too short, at least {bounds['min_length']}"
    if kind.endswith("too_long") and "max_length" in bounds:
        return f"too long, at most {bounds['max_length']}"
    return str(error["msg"]).removeprefix("Input ").removeprefix("String ").replace("'", "")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
