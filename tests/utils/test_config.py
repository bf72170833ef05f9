"""The configuration: file under environment, every fault at once, secrets never shown."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscorer.utils.config import Config, Settings, setting_rows
from autoscorer.utils.errors import AutoscorerError, Blame

ROOT = Path(__file__).parents[2]
PRODUCTION = """\
DOCKER_HOST: unix:///var/run/docker.sock
IMAGE_PULL_POLICY: ifnotpresent
DEFAULT_CPU: 2
DEFAULT_MEMORY: 4Gi
DEFAULT_GPU: 0
TIMEOUT: 1800
LOG_DIR: /var/log/autoscorer
CELERY_BROKER: redis://redis:6379/0
CELERY_BACKEND: redis://redis:6379/1
SECURITY_OPTS: ["no-new-privileges:true", "seccomp=unconfined"]
"""


def of_file(folder: Path, text: str, **environ: str) -> Config:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return Config(path, environ=environ)


def of_environment(**environ: str) -> Config:
    return Config("/nowhere/config.yaml", environ=environ)


def faulty_keys(config: Config) -> list[str]:
    return [fault.key for fault in config.validate()]


def test_without_file_and_variables_the_defaults_are_valid() -> None:
    config = of_environment()
    assert config.validate() == []
    assert config.settings.timeout_s == 1800
    assert config.settings.default_memory_bytes == 4 * 2**30
    assert config.settings.max_output_bytes == 2**30
    assert config.settings.workspace_root is None


def test_the_table_and_the_typed_settings_name_the_same_fields() -> None:
    assert sorted(row.field for row in setting_rows()) == sorted(item.name for item in fields(Settings))
    assert len({row.key for row in setting_rows()}) == len(setting_rows())


@pytest.mark.parametrize("row", setting_rows(), ids=lambda row: row.key)
def test_every_setting_is_described_in_both_languages(row: Any) -> None:
    assert row.description_en.endswith(".")
    assert row.description_zh.endswith("。")


SPECIFIED = """
DOCKER_HOST DOCKER_API_VERSION DOCKER_TLS_VERIFY IMAGE_PULL_POLICY DEFAULT_CPU DEFAULT_MEMORY DEFAULT_GPU
DEFAULT_SHM_SIZE TIMEOUT SECURITY_OPTS LOG_DIR CELERY_BROKER CELERY_BACKEND K8S_ENABLED K8S_API K8S_NAMESPACE
K8S_TOKEN K8S_DEFAULT_RESOURCES K8S_IMAGE_PULL_SECRET PRINT_STACKTRACE WORKSPACE_ROOT SCORERS_DIR NODES
K8S_CA_CERT K8S_KUBECONFIG MAX_CPU MAX_MEMORY MAX_GPUS MAX_TIME_LIMIT MAX_OUTPUT_BYTES ALLOWED_NETWORKS
DATA_DIR DATABASE_URL IMAGE_ALLOWLIST REGISTRY_AUTH ALLOW_WEAKER_SECURITY ALLOW_TRUTH_IN_INPUT
"""


def test_every_key_of_the_specification_is_known() -> None:
    assert set(SPECIFIED.split()) <= {row.key for row in setting_rows()}


def test_the_production_sample_is_valid_and_its_weakening_option_is_only_a_warning(tmp_path: Path) -> None:
    config = of_file(tmp_path, PRODUCTION)
    assert config.validate() == []
    assert [text for text in config.warnings() if "SECURITY_OPTS" in text] == [
        "SECURITY_OPTS: seccomp=unconfined may weaken every container (ignored without ALLOW_WEAKER_SECURITY)"
    ]
    assert config.settings.security_opts == ("no-new-privileges:true",)


def test_a_weakening_option_takes_effect_with_the_operators_word(tmp_path: Path) -> None:
    config = of_file(tmp_path, PRODUCTION + "ALLOW_WEAKER_SECURITY: true\n")
    assert config.settings.security_opts == ("no-new-privileges:true", "seccomp=unconfined")
    assert any("in effect" in text for text in config.warnings())


@pytest.mark.parametrize(
    "option",
    [
        *(
            "seccomp=unconfined",
            "seccomp:unconfined",
            "apparmor=unconfined",
            "label=disable",
            "label:disable",
        ),
        *(
            "no-new-privileges:false",
            "no-new-privileges=false",
            "systempaths=unconfined",
            "seccomp=/own.json",
            "seccomp=builtin",
        ),
    ],
)
def test_every_option_not_known_to_be_strict_counts_as_weakening(option: str) -> None:
    config = of_environment(SECURITY_OPTS=option)
    assert config.settings.security_opts == ()
    assert any(option in text for text in config.warnings())


def test_the_environment_overrides_the_file_and_an_empty_variable_does_not(tmp_path: Path) -> None:
    text = "TIMEOUT: 100\nDEFAULT_CPU: 1\n"
    config = of_file(tmp_path, text, TIMEOUT="200", DEFAULT_CPU="", PRINT_STACKTRACE="true", UNKNOWN_KEY="x")
    assert config.settings.timeout_s == 200
    assert config.settings.default_cpu_cores == 1
    assert config.settings.print_stacktrace is True
    assert config.validate() == []


def test_the_variable_names_the_file_and_then_it_must_be_there(tmp_path: Path) -> None:
    of_file(tmp_path, "TIMEOUT: 7\n")
    named = Config(environ={"AUTOSCORER_CONFIG": str(tmp_path / "config.yaml")})
    assert named.settings.timeout_s == 7
    missing = Config(environ={"AUTOSCORER_CONFIG": str(tmp_path / "other.yaml")})
    assert [(fault.key, fault.given) for fault in missing.validate()] == [("other.yaml", "no such file")]
    assert Config(tmp_path / "other.yaml", environ={}).validate() == []


def test_without_a_path_the_file_is_config_yaml_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("TIMEOUT: 9\n")
    assert Config(environ={}).settings.timeout_s == 9


def test_get_gives_what_is_set_then_the_callers_default_then_the_tables(tmp_path: Path) -> None:
    config = of_file(tmp_path, "TIMEOUT: 60\nK8S_DEFAULT_RESOURCES: {cpu: 4}\n")
    assert config.get("TIMEOUT", 5) == 60
    assert config.get("DEFAULT_MEMORY", "1Gi") == "1Gi"
    assert config.get("DEFAULT_MEMORY") == "4Gi"
    assert config.get("NO_SUCH_KEY", "mine") == "mine"
    assert config.get("WORKSPACE_ROOT") is None
    assert config.get_nested("K8S_DEFAULT_RESOURCES", "cpu", default=2) == 4
    assert config.get_nested("K8S_DEFAULT_RESOURCES", "gpus", default=0) == 0
    assert of_environment().get_nested("K8S_DEFAULT_RESOURCES", "cpu", default=2) == 2
    assert of_environment(K8S_DEFAULT_RESOURCES='{"cpu": 3}').get_nested("K8S_DEFAULT_RESOURCES", "cpu") == 3


def test_get_refuses_a_value_that_is_not_valid() -> None:
    with pytest.raises(AutoscorerError) as caught:
        of_environment(TIMEOUT="soon").get("TIMEOUT", 5)
    assert caught.value.code == "CONFIG_VALIDATION_ERROR"
    assert of_environment(TIMEOUT="soon").get("DEFAULT_GPU") == 0


def test_every_fault_is_named_at_once_with_what_was_given_and_what_would_be_right(tmp_path: Path) -> None:
    config = of_file(tmp_path, "TIMEOUT: -1\nIMAGE_PULL_POLICY: maybe\nTIMEOUTS: 5\n", MAX_CPU="lots")
    assert [str(fault) for fault in config.validate()] == [
        'IMAGE_PULL_POLICY (config.yaml): got "maybe", expected one of always, ifnotpresent, never',
        "TIMEOUT (config.yaml): got -1, expected a whole number from 1 to 31536000",
        'MAX_CPU (environment): got "lots", expected a number from 0.01 to 4096',
        "TIMEOUTS (config.yaml): got an unknown key, expected the key TIMEOUT",
    ]
    with pytest.raises(AutoscorerError) as caught:
        _ = config.settings
    assert caught.value.blame is Blame.OPERATOR
    assert caught.value.cause == "configuration"
    assert [fault["key"] for fault in caught.value.details["faults"]] == faulty_keys(config)


BAD_FILES = [
    (b"TIMEOUT: [1\n", "not YAML in line 2"),
    (b"\tTIMEOUT: 1\n", "not YAML in line 1"),
    (b"- TIMEOUT\n", "no mapping"),
    (b"TIMEOUT\n", "no mapping"),
    (b"TIMEOUT: 1\nTIMEOUT: 2\n", "twice"),
    (b"TIMEOUT: 1\xff\n", "not UTF-8"),
    (b"TIMEOUT: \x01\n", "not YAML"),
    (b"[" * 200_000, "not YAML"),
    (b"#" * (2**20 + 1), "more than 1 MiB"),
    (b"TIMEOUT: 2024-99-99\n", "not YAML"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("content", "expected"), BAD_FILES, ids=[expected for _, expected in BAD_FILES])
def test_a_file_that_cannot_be_used_is_one_fault_and_using_it_is_an_error(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    config = Config(path, environ={})
    assert [fault.key for fault in config.validate()] == ["config.yaml"]
    assert expected in config.validate()[0].given
    with pytest.raises(AutoscorerError, match="CONFIG_VALIDATION_ERROR"):
        config.get("TIMEOUT")


def test_a_folder_in_place_of_the_file_is_a_fault(tmp_path: Path) -> None:
    assert faulty_keys(Config(tmp_path, environ={})) == [tmp_path.name]


@pytest.mark.parametrize("content", [b"", b"# only a comment\n", b"\xef\xbb\xbfTIMEOUT: 1800\r\n"])
def test_an_empty_file_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    assert Config(path, environ={}).settings.timeout_s == 1800


CONTRADICTIONS: list[tuple[dict[str, str], list[str]]] = [
    ({"MAX_CPU": "1"}, ["DEFAULT_CPU"]),
    ({"MAX_CPU": "1", "DEFAULT_CPU": "1"}, []),
    ({"MAX_MEMORY": "4095Mi"}, ["DEFAULT_MEMORY"]),
    ({"MAX_MEMORY": "4096Mi"}, []),
    ({"DEFAULT_SHM_SIZE": "65Gi"}, ["DEFAULT_SHM_SIZE"]),
    ({"DEFAULT_GPU": "9"}, ["DEFAULT_GPU"]),
    ({"TIMEOUT": "86401"}, ["TIMEOUT"]),
    ({"TIMEOUT": "86401", "MAX_TIME_LIMIT": "90000"}, []),
    ({"TIMEOUT": "x", "MAX_TIME_LIMIT": "1"}, ["TIMEOUT"]),
    ({"DOCKER_TLS_VERIFY": "1"}, ["DOCKER_TLS_VERIFY"]),
    ({"DOCKER_TLS_VERIFY": "1", "DOCKER_HOST": "tcp://h:2376"}, []),
    ({"DOCKER_TLS_VERIFY": "1", "NODES": '[{"name": "a", "host": "tcp://h:2376"}]'}, []),
    ({"DOCKER_TLS_VERIFY": "1", "NODES": '[{"name": "a", "host": "unix:///a"}]'}, ["DOCKER_TLS_VERIFY"]),
    ({"K8S_ENABLED": "1"}, ["K8S_API"]),
    ({"K8S_ENABLED": "1", "K8S_API": "https://h:6443"}, ["K8S_TOKEN"]),
    ({"K8S_ENABLED": "1", "K8S_API": "https://h:6443", "K8S_TOKEN": "abc"}, []),
    ({"K8S_ENABLED": "1", "K8S_API": "nonsense"}, ["K8S_API", "K8S_TOKEN"]),
    ({"K8S_ENABLED": "1", "K8S_KUBECONFIG": "/nowhere/kubeconfig"}, ["K8S_KUBECONFIG"]),
    ({"K8S_ENABLED": "1", "K8S_KUBECONFIG": __file__}, []),
    ({"K8S_API": "https://h:6443"}, []),
    ({"K8S_DEFAULT_RESOURCES": '{"cpu": 65, "memory": "65Gi", "gpus": 9}'}, ["K8S_DEFAULT_RESOURCES"] * 3),
]


@pytest.mark.parametrize(("environ", "expected"), CONTRADICTIONS)
def test_values_that_contradict_each_other_are_faults(environ: dict[str, str], expected: list[str]) -> None:
    assert [key.partition(".")[0] for key in faulty_keys(of_environment(**environ))] == expected


WARNINGS: list[tuple[dict[str, str], str]] = [
    ({"ALLOWED_NETWORKS": "host"}, "ALLOWED_NETWORKS"),
    ({"DOCKER_HOST": "tcp://h:2375"}, "DOCKER_HOST"),
    ({"K8S_API": "http://h"}, "K8S_API"),
    ({"WORKSPACE_ROOT": "/nowhere/at/all"}, "WORKSPACE_ROOT"),
    ({"LOG_DIR": __file__}, "LOG_DIR"),  # a file stands there
]


@pytest.mark.parametrize(("environ", "key"), WARNINGS)
def test_what_is_valid_but_doubtful_is_a_warning(environ: dict[str, str], key: str) -> None:
    config = of_environment(HOME="/tmp", **environ)
    assert config.validate() == []
    assert [text.partition(":")[0] for text in config.warnings()] == [key]
    assert of_environment(HOME="/tmp").warnings() == []


def test_relative_paths_start_at_the_file_or_for_a_variable_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    config = of_file(
        tmp_path, "SCORERS_DIR: mine\nDATA_DIR: ~/data\n", HOME="/home/me", WORKSPACE_ROOT="jobs"
    )
    assert config.settings.scorers_dir == tmp_path / "mine"
    assert config.settings.workspace_root == work / "jobs"
    assert config.settings.data_dir == Path("/home/me/data")


SECRET_SETTINGS = {
    "K8S_TOKEN": "{}",
    "CELERY_BROKER": "redis://:{}@host:6379/0",
    "CELERY_BACKEND": "redis://user:{}@host:6379/0?password={}",
    "DATABASE_URL": "postgresql://user:{}@host/db",
    "REGISTRY_AUTH": '{{"registry.example": {{"username": "u", "password": "{}"}}}}',
    "DOCKER_HOST": "tcp://user:{}@host",
    "K8S_API": "https://user:{}@host",
}
REFUSE_PASSWORDS = {"DOCKER_HOST", "K8S_API"}  # shown as they are, so a password in them is a fault


def everything_shown(config: Config) -> str:
    shown = [config.dump(), [fault.to_dict() for fault in config.validate()], config.warnings()]
    with contextlib.suppress(AutoscorerError):
        shown.append(repr(config.settings))
    try:
        _ = config.settings
    except AutoscorerError as error:
        shown.append(error.to_dict())
    return json.dumps(shown)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    key=st.sampled_from(sorted(SECRET_SETTINGS)),
    noise=st.text("a09-_.~%@/;&?=:", max_size=6),
    broken=st.booleans(),
)
def test_a_planted_secret_is_never_shown(key: str, noise: str, broken: bool) -> None:
    secret = f"zq{noise}hunter2"
    text = SECRET_SETTINGS[key].format(secret, secret)
    if broken and key not in REFUSE_PASSWORDS:
        text = text.replace("://", ":/ /", 1) if "://" in text else f"{text} }}"
    config = of_environment(**{key: text})
    assert "hunter2" not in everything_shown(config)
    assert config.dump()[key] is not None


def test_the_control_a_value_that_is_no_secret_is_shown() -> None:
    assert "hunter2" in everything_shown(of_environment(K8S_NAMESPACE="hunter2"))


def test_a_secret_under_a_misspelt_key_is_not_shown(tmp_path: Path) -> None:
    config = of_file(tmp_path, "K8S_TOKN: hunter2\n")
    assert faulty_keys(config) == ["K8S_TOKN"]
    assert "hunter2" not in everything_shown(config)


def test_the_settings_list_their_secrets_for_the_log_filter() -> None:
    keys = SECRET_SETTINGS.keys() - REFUSE_PASSWORDS
    config = of_environment(**{key: SECRET_SETTINGS[key].format("hunter2", "other-one") for key in keys})
    assert set(config.settings.secrets()) == {"hunter2", "other-one"}


def test_dump_shows_every_key_with_the_value_in_effect() -> None:
    dumped = of_environment(TIMEOUT="60", CELERY_BROKER="redis://:pw@host:6379/0").dump()
    assert list(dumped) == [row.key for row in setting_rows()]
    assert dumped["TIMEOUT"] == 60
    assert dumped["CELERY_BROKER"] == "redis://:***@host:6379/0"
    assert dumped["K8S_TOKEN"] is None
    json.dumps(dumped, allow_nan=False)


PRINTABLE = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=30)
YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | PRINTABLE | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PRINTABLE | st.integers(), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([row.key for row in setting_rows()])


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(
    values=st.dictionaries(KEYS | PRINTABLE | st.integers(), YAML_VALUES, max_size=6),
    environ=st.dictionaries(KEYS, PRINTABLE, max_size=4),
)
def test_any_configuration_is_valid_or_its_faults_are_named(
    tmp_path: Path, values: dict[object, object], environ: dict[str, str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    config = Config(path, environ=environ)
    faults = config.validate()
    assert all(str(fault) and fault.expected for fault in faults)
    json.dumps([config.dump(), config.warnings(), [fault.to_dict() for fault in faults]])
    if faults:
        with pytest.raises(AutoscorerError, match="CONFIG_VALIDATION_ERROR"):
            _ = config.settings
    else:
        assert isinstance(config.settings, Settings)


def test_a_file_that_refers_to_itself_is_a_fault_and_not_an_endless_loop(tmp_path: Path) -> None:
    config = of_file(
        tmp_path, "NODES: &a [*a]\nREGISTRY_AUTH: &b {x: *b}\nK8S_DEFAULT_RESOURCES: &c {cpu: *c}\n"
    )
    assert {"NODES", "K8S_DEFAULT_RESOURCES"} <= set(faulty_keys(config))
    everything_shown(config)


def test_the_sample_file_shows_every_key_and_its_default(tmp_path: Path) -> None:
    sample = (ROOT / "config.yaml").read_text(encoding="utf-8")
    assert Config(ROOT / "config.yaml", environ={}).dump() == of_environment().dump()
    taken_in = re.sub(r"^#(?=[A-Z0-9_]+:)", "", sample, flags=re.MULTILINE)
    assert list(yaml.safe_load(taken_in)) == [row.key for row in setting_rows()]
    assert of_file(tmp_path, taken_in).dump() == of_environment().dump()


def test_reading_the_configuration_loads_no_heavy_library() -> None:
    code = (
        "import sys; from autoscorer.utils.config import Config; Config('/nowhere', environ={}).settings;"
        "print(sorted({'pydantic', 'yaml', 'structlog', 'logging', 'difflib'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_no_other_module_reads_the_environment() -> None:
    package = ROOT / "src" / "autoscorer"
    # One is run inside the sandbox, as a program, to see what of an environment gets there; the other
    # hands ours on to a process, to see whether a scorer depends on it.
    programs = {"confine/probe_program.py", "testing/elsewhere.py"}
    readers = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(
            r"\bos\.(environ|getenv)\b|from os import .*\b(environ|getenv)\b", path.read_text("utf-8")
        )
    ]
    assert set(readers) - programs == {"utils/config.py"}
