"""The table of settings (``table.toml``) and its typed form, `Settings`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from autoscorer.settings.secrets import secret_texts, url_secrets


@dataclass(frozen=True, kw_only=True)
class SettingRow:
    """One key of the table. ``form`` is what a right value looks like; ``at_most`` names a bounding key."""

    key: str
    field: str
    group: str
    kind: str
    description_en: str
    description_zh: str
    default: Any = None
    minimum: Any = None
    maximum: Any = None
    at_most: str = ""
    choices: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    pattern: str = ""
    form: str = ""
    secrecy: Literal["", "whole", "url"] = ""


@functools.cache
def setting_rows() -> tuple[SettingRow, ...]:
    """The table, in the order of the file."""
    import tomllib

    text = Path(__file__).with_name("table.toml").read_text(encoding="utf-8")
    return tuple(_to_row(cells) for cells in tomllib.loads(text)["setting"])


def _to_row(cells: dict[str, Any]) -> SettingRow:
    lists = {name: tuple(cell) for name, cell in cells.items() if name in ("choices", "schemes")}
    return SettingRow(**{**cells, **lists})


@functools.cache
def row_of(key: str) -> SettingRow:
    """The row of a key of the table."""
    return next(row for row in setting_rows() if row.key == key)


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine jobs may run on."""

    name: str
    host: str
    gpus: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    transport: Literal["auto", "bind", "stream"] | None = None  # None: as DOCKER_TRANSPORT says


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings, typed, units in the names. What may hold a secret is kept out of the repr."""

    docker_host: str
    docker_api_version: str | None
    docker_tls_verify: bool
    docker_cert_path: Path | None
    docker_transport: Literal["auto", "bind", "stream"]
    docker_helper_image: str
    image_pull_policy: Literal["always", "ifnotpresent", "never"]
    image_allowlist: tuple[str, ...] | None
    registry_auth: Mapping[str, Any] | None = field(repr=False)
    default_cpu_cores: float
    default_memory_bytes: int
    default_gpus: int
    default_shm_bytes: int
    timeout_s: int
    max_cpu_cores: float
    max_memory_bytes: int
    max_gpus: int
    max_time_limit_s: int
    max_output_bytes: int
    scorer_time_limit_s: int
    scorer_memory_bytes: int
    scorer_max_output_bytes: int
    allowed_networks: tuple[str, ...]
    security_opts: tuple[str, ...]  # those in effect: a weakening one only with the operator's word
    allow_weaker_security: bool
    allow_truth_in_input: bool
    show_truth_to_participants: bool
    workspace_root: Path | None
    scorers_dir: Path | None
    data_dir: Path
    cache_max_bytes: int
    log_dir: Path
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    log_max_bytes: int
    log_backups: int
    log_retention_days: float
    print_stacktrace: bool
    celery_broker: str | None = field(repr=False)
    celery_backend: str | None = field(repr=False)
    nodes: tuple[Node, ...]
    node_selector: Mapping[str, str]
    node_wait_s: int
    worker_slots: int
    worker_grace_s: int
    min_free_disk_bytes: int
    database_url: str | None = field(repr=False)
    api_host: str
    api_port: int
    api_allowed_hosts: tuple[str, ...]
    api_allowed_origins: tuple[str, ...]
    api_trusted_proxies: tuple[str, ...]
    api_max_body_bytes: int
    upload_max_bytes: int
    upload_max_files: int
    rate_limit_per_minute: int
    public_url: str | None
    metrics_token: str | None = field(repr=False)
    worker_metrics_host: str
    worker_metrics_port: int
    callback_secrets: tuple[str, ...] = field(repr=False)
    callback_allowed_hosts: tuple[str, ...]
    callback_timeout_s: int
    max_open_submissions: int
    service_backends: tuple[str, ...]
    retention_days: float
    failed_retention_days: float
    service_url: str
    service_token: str | None = field(repr=False)
    k8s_enabled: bool
    k8s_api: str | None
    k8s_token: str | None = field(repr=False)
    k8s_kubeconfig: Path | None
    k8s_ca_cert: Path | None
    k8s_namespace: str
    k8s_default_resources: Mapping[str, Any]
    k8s_image_pull_secret: str | None
    k8s_transport: Literal["stream", "bind"]
    k8s_storage_class: str | None
    k8s_workspace_claim: str | None
    k8s_workspace_mount: Path | None
    k8s_helper_image: str
    k8s_start_timeout_s: int
    k8s_runtime_class: str | None
    k8s_node_selector: Mapping[str, str]
    k8s_tolerations: tuple[Mapping[str, Any], ...]
    k8s_priority_class: str | None
    k8s_owner: str | None
    k8s_network_enforced: bool

    def secrets(self) -> tuple[str, ...]:
        """Every configured secret as plain text, longest first, for whoever writes logs to filter.

        Texts of fewer than four characters are left out: to replace them would garble every line.
        """
        return self._secrets

    @functools.cached_property
    def _secrets(self) -> tuple[str, ...]:
        found: set[str] = set()
        for row in setting_rows():
            value = getattr(self, row.field)
            if row.secrecy and value:
                found |= set(url_secrets(value) if row.secrecy == "url" else secret_texts(value))
        return tuple(sorted((text for text in found if len(text) >= 4), key=len, reverse=True))
