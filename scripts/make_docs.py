"""Write the generated blocks of the documents: the tables that the code states better than a person.

A block stands between `<!-- generated: NAME -->` and `<!-- end generated -->`; NAME is a key of BLOCKS.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from fastapi.routing import APIRoute
from typer.main import get_command

import autoscorer
from autoscorer.api.answers import STATUS
from autoscorer.api.app import routers
from autoscorer.cli import app
from autoscorer.commands import _frame
from autoscorer.confine import properties
from autoscorer.executor.docker.isolation import isolation_report
from autoscorer.executor.docker.types import EngineFacts
from autoscorer.executor.k8s.verdicts import TABLE, Means, Row
from autoscorer.scorers.catalog import Catalog
from autoscorer.scorers.child import walls as child
from autoscorer.settings.table import SettingRow
from autoscorer.telemetry import instruments
from autoscorer.telemetry.measuring import REGISTRY, Instrument
from autoscorer.testing import contracts as promised
from autoscorer.utils.config import setting_rows
from autoscorer.utils.errors import AutoscorerError, CodeRow, code_table

ROOT = Path(__file__).resolve().parent.parent
assert instruments  # what it declares is in the registry
PACKAGE = Path(autoscorer.__file__).parent
NAME_WIDTH = 30
_BLOCK = re.compile(r"(<!-- generated: ([a-z0-9-]+) -->\n).*?(<!-- end generated -->)", re.DOTALL)
_CODE_COLUMNS = {
    "en": ("code (cause)", "stage", "fault of", "tried again", "exit code", "what it means", "what to do"),
    "zh": ("代码（原因）", "阶段", "责任方", "自动重试", "退出码", "含义", "处理方法"),
}
_SETTING_COLUMNS = {
    "en": ("key", "default", "allowed", "what it is for"),
    "zh": ("键", "默认值", "取值", "用途"),
}
_SCORER_COLUMNS = {
    "en": ("scorer", "version", "task", "headline", "better", "range", "parameters"),
    "zh": ("评分器", "版本", "任务", "主指标", "更优", "范围", "参数"),
}
_ISOLATION_COLUMNS = {"en": ("property", "hardened", "trusted"), "zh": ("性质", "hardened", "trusted")}
_SCORER_WALL_COLUMNS = {
    "en": ("property", "with namespaces and cgroups", "without"),
    "zh": ("性质", "有命名空间和 cgroup", "没有"),
}
_DOCKER_COLUMNS = {
    "en": ("property", "AutoScorer runs as root", "as another user"),
    "zh": ("性质", "AutoScorer 以 root 运行", "以其他用户运行"),
}
_METRIC_COLUMNS = {
    "en": ("metric", "kind", "labels", "what it tells"),
    "zh": ("指标", "类型", "标签", "含义"),
}
_ALERT_COLUMNS = {
    "en": ("alert", "severity", "thresholds", "for", "what it says", "what to look at"),
    "zh": ("告警", "级别", "阈值", "持续", "含义", "处理"),
}
_WORDS = {"en": ("yes", "no", "higher", "lower", "none"), "zh": ("是", "否", "越高越好", "越低越好", "无")}


def table(columns: Sequence[str], rows: Iterator[Sequence[Any]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in lines
    )


def codes(language: str) -> str:
    """Every (code, cause) with what `autoscorer explain` says and the exit code that follows."""
    return table(_CODE_COLUMNS[language], (_code_cells(row, language) for row in code_table()))


def _code_cells(row: CodeRow, language: str) -> Sequence[Any]:
    yes, no = _WORDS[language][:2]
    exit_code = _frame._exit_code(None, AutoscorerError(row.code, "", cause=row.cause))
    name = f"`{row.code}`" + (f" ({row.cause})" if row.cause else "")
    told = [getattr(row, f"{what}_{language}") for what in ("meaning", "hint")]
    return [name, row.stage, row.blame, yes if row.retryable else no, exit_code, *told]


def settings(language: str) -> str:
    """Every key of the configuration."""
    rows = (_setting_cells(row, language) for row in setting_rows())
    return table(_SETTING_COLUMNS[language], rows)


def _setting_cells(row: SettingRow, language: str) -> Sequence[Any]:
    default = row.default if isinstance(row.default, str) else json.dumps(row.default)
    shown = "" if row.default is None else f"`{default}`"
    return [f"`{row.key}`", shown, _allowed(row), getattr(row, f"description_{language}")]


def _allowed(row: SettingRow) -> str:
    if row.choices:
        return ", ".join(f"`{choice}`" for choice in row.choices)
    if row.minimum is not None:
        bound = f", ≤ `{row.at_most}`" if row.at_most else ""
        return f"{row.minimum} – {row.maximum}{bound}"
    return row.form or {"flag": "`true`, `false`"}.get(row.kind, row.kind)


def scorers(language: str) -> str:
    """What the built-in scorers say of themselves."""
    cards = [entry.card.model_dump() for entry in Catalog().entries()]
    return table(_SCORER_COLUMNS[language], (_scorer_cells(row, language) for row in cards))


def _scorer_cells(row: Mapping[str, Any], language: str) -> Sequence[Any]:
    higher, lower, none = _WORDS[language][2:]
    names = ", ".join(f"`{name}`" for name in (row["name"], *row["aliases"]))
    low, high = ("∞" if bound is None else f"{bound:g}" for bound in row["score_range"])
    better = higher if row["higher_is_better"] else lower
    properties = (row["params_schema"] or {}).get("properties", {})
    params = "; ".join(f"`{key}`: {_parameter(schema)}" for key, schema in properties.items()) or none
    headline = f"`{row['primary_metric']}`"
    return [names, row["version"], row["task"], headline, better, f"{low} – {high}", params]


def _parameter(schema: Mapping[str, Any]) -> str:
    kinds = [f"`{value}`" for value in schema.get("enum", ())] or [schema.get("type", "any")]
    return ", ".join(kinds) + (f" (`{schema['default']}`)" if "default" in schema else "")


def contracts() -> str:
    """What every scorer promises: the first line of each contract."""
    found = sorted(Path(promised.__file__ or "").parent.glob("[!_]*.py"))
    return table(("contract", "the promise"), ((f"`{path.stem}`", _first_line(path)) for path in found))


def commands() -> str:
    """Every command with its arguments and options."""
    root = get_command(app)
    return "\n\n".join(_command_section(words, command) for words, command in leaves(root, "autoscorer"))


def leaves(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with the words that call it."""
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name in command.commands:
        yield from leaves(command.commands[name], f"{words} {name}")


def _command_section(words: str, command: Any) -> str:
    arguments = [p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument"]
    usage = " ".join([words, *arguments])
    rows = (_option_cells(parameter) for parameter in command.params)
    return f"### {words}\n\n`{usage}`: {command.help}\n\n" + table(
        ("argument, option", "default", "meaning"), rows
    )


def _option_cells(parameter: Any) -> Sequence[str]:
    is_flag = getattr(parameter, "is_flag", False)
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name.upper()
    else:
        name = parameter.opts[0] + ("" if is_flag else f" {parameter.metavar}")
    default = "" if is_flag or parameter.default is None else f"`{parameter.default}`"
    return [f"`{name}`", default, parameter.help or ""]


def endpoints() -> str:
    """Every address of the API, from its routes."""
    routes = (route for router in routers() for route in router.routes)
    rows = (
        (f"`{method} {route.path}`", (route.endpoint.__doc__ or "").partition("\n\n")[0])
        for route in routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    )
    return table(("address", "what it does"), ((name, " ".join(text.split())) for name, text in rows))


def statuses() -> str:
    """Which HTTP status the codes have."""
    codes: dict[int, list[str]] = {}
    for name, status in STATUS.items():
        code, _, cause = name.partition(".")
        codes.setdefault(status, []).append(f"`{code}`" + (f" ({cause})" if cause else ""))
    rows = ((status, ", ".join(sorted(codes[status]))) for status in sorted(codes))
    return table(("status", "code (cause)"), rows)


def exit_codes() -> str:
    """What `--help` says of them."""
    listed = str(app.info.epilog).removeprefix("Exit codes: ").rstrip(".").split(", ")
    return table(("exit code", "meaning"), (entry.split(" ", 1) for entry in listed))


def tree() -> str:
    """The package, one line a file: the first line of its docstring."""
    # Of a template only the folder counts: what lies in it is a task's own.
    folders = sorted(path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("__init__.py"))
    lines = ["src/autoscorer/"]
    for folder in folders:
        files = sorted(path for path in (PACKAGE / folder).iterdir() if path.suffix in (".py", ".toml"))
        told = [(path.name, line) for path in files if (line := _first_line(path))]
        if told and folder.parts:
            lines.append(f"  {folder}/")
        indent = "    " if folder.parts else "  "
        lines += [f"{indent + name:<{NAME_WIDTH}} {line}" for name, line in told]
    return "\n".join(["```text", *lines, "```"])


def _first_line(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":  # the first sentence of the comment at its head
        comment = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
        return " ".join(line.lstrip("# ") for line in comment).partition(". ")[0] + "."
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def isolation(language: str) -> str:
    """What the local backend holds against a program, where cgroups can be made."""
    caps = {"memory": "cgroup", "pids": "cgroup", "cpu": "cgroup"}
    hardened, never = properties.describe(hardened=True, filters_calls=True, caps_enforced=caps)
    trusted, _ = properties.describe(hardened=False, filters_calls=False, caps_enforced=caps)
    yes, no = _WORDS[language][:2]
    rows = (
        (name, *(yes if name in held else no for held in (hardened, trusted))) for name in (*hardened, *never)
    )
    return table(_ISOLATION_COLUMNS[language], rows)


def docker_isolation(language: str) -> str:
    """What a container on Docker holds against a program, by who runs AutoScorer."""
    facts = EngineFacts(
        version="",
        api_version="",
        architecture="",
        cgroup_version="2",
        storage_driver="",
        data_root=Path(),
        security_options=("name=seccomp,profile=builtin",),
        runtimes={},
        gpus=0,
        local=True,
    )
    columns = [
        isolation_report(
            facts,
            network="none",
            security_opts=(),
            host_user_differs=is_root,
            init=True,
            output_is_capped=is_root,
            warnings=(),
        )
        for is_root in (True, False)
    ]
    yes, no = _WORDS[language][:2]
    names = dict.fromkeys(name for held in columns for name in (*held.enforced, *held.not_enforced))
    rows = ((name, *(yes if name in held.enforced else no for held in columns)) for name in names)
    return table(_DOCKER_COLUMNS[language], rows)


def scorer_isolation(language: str) -> str:
    """What holds against a scorer in a process apart, where everything and where nothing can be made."""
    dropped = (child.CAPABILITIES, child.SECCOMP)
    full = child.isolation(dict.fromkeys(child.WALLS), {"memory": "cgroup", "pids": "cgroup"})
    standing = {wall: None if wall in dropped else "" for wall in child.WALLS}
    bare = child.isolation(standing, {"memory": "polled"})
    yes, no = _WORDS[language][:2]
    plain = {name.partition(" (polled)")[0]: name for name in bare["enforced"]}
    rows = []
    for name in (*full["enforced"], *full["not_enforced"]):
        other = plain.get(name.partition(" (")[0])
        held = yes if other == name else other.rpartition("(")[2].rstrip(")") if other else no
        rows.append((name, yes if name in full["enforced"] else no, held))
    return table(_SCORER_WALL_COLUMNS[language], iter(rows))


def layers() -> str:
    """The order of imports that import-linter enforces, highest first."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    # The first is about the whole package; further ones are about the inside of a room.
    contract = next(rule for rule in rules["contracts"] if rule["type"] == "layers")
    names = [layer.replace("autoscorer.", "") for layer in contract["layers"]]
    return "\n".join(["```text", *names, "```"])


def metrics(language: str) -> str:
    """Everything that `/metrics` tells of the service."""
    return table(_METRIC_COLUMNS[language], (_metric_cells(one, language) for one in REGISTRY.instruments))


def _metric_cells(instrument: Instrument, language: str) -> Sequence[Any]:
    labels = ", ".join(f"`{label}`" for label in instrument.labels) or "–"
    return [f"`{instrument.name}`", instrument.kind, labels, getattr(instrument, language)]


def alerts(language: str) -> str:
    """Every alert, when it goes off, and what to do."""
    folder = ROOT / "deploy" / "prometheus"
    defaults = {
        rule["record"]: rule["expr"][len("vector(") : -1] for rule in _rules(folder / "thresholds.yml")
    }
    rows = (_alert_cells(rule, defaults, language) for rule in _rules(folder / "alerts.yml"))
    return table(_ALERT_COLUMNS[language], rows)


def _rules(path: Path) -> list[dict[str, Any]]:
    return [
        rule
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]


def _alert_cells(rule: Mapping[str, Any], defaults: Mapping[str, str], language: str) -> Sequence[Any]:
    names = re.findall(r"scalar\((autoscorer:threshold:(\w+))\)", rule["expr"])
    thresholds = ", ".join(f"`{name}` {defaults[record]}" for record, name in names) or "–"
    ending = "" if language == "en" else f"_{language}"
    told = [rule["annotations"][f"{what}{ending}"] for what in ("summary", "action")]
    summary = re.sub(r"\{\{ \$(?:labels\.)?(\w+).*?\}\}", r"⟨\1⟩", told[0])
    return [
        f"`{rule['alert']}`",
        rule["labels"]["severity"],
        thresholds,
        rule.get("for", "–"),
        summary,
        told[1],
    ]


_VERDICT_HEAD = {
    "en": ("what the cluster says", "what it comes to", "fault of"),
    "zh": ("集群所述", "结论", "归责"),
}
_TRIED_AGAIN = {"en": "tried again", "zh": "会重试"}
_ITS_CODE = {
    "en": "its exit code; `MEMORY_LIMIT` if it was OOMKilled",
    "zh": "其退出码；若为 OOMKilled 则为 `MEMORY_LIMIT`",
}


def k8s_verdicts(language: str) -> str:
    """What a pod's end comes to, in the order in which it is judged."""
    return table(_VERDICT_HEAD[language], (_verdict_cells(row, language) for row in TABLE))


def _verdict_cells(row: Row, language: str) -> Sequence[str]:
    when, verdict = row.when_zh if language == "zh" else row.when, row.verdict
    if verdict.means is Means.ERROR:
        error = AutoscorerError(verdict.code, "", cause=verdict.cause)
        cause = f" ({verdict.cause})" if verdict.cause else ""
        return when, f"`{verdict.code}`{cause}", str(error.blame)
    if verdict.means is Means.GAP:
        return when, f"`CONTAINER_WAIT_FAILED`, {_TRIED_AGAIN[language]}", "platform"
    if verdict.stop is not None:
        return when, f"`{verdict.stop.upper()}`", "participant"
    return when, _ITS_CODE[language], "participant"


_BY_LANGUAGE = (
    codes,
    settings,
    scorers,
    isolation,
    docker_isolation,
    scorer_isolation,
    metrics,
    alerts,
    k8s_verdicts,
)


BLOCKS: Mapping[str, Callable[[], str]] = {
    **{make.__name__.replace("_", "-"): partial(make, "en") for make in _BY_LANGUAGE},
    **{f"{make.__name__.replace('_', '-')}-zh": partial(make, "zh") for make in _BY_LANGUAGE},
    "commands": commands,
    "contracts": contracts,
    "endpoints": endpoints,
    "exit-codes": exit_codes,
    "statuses": statuses,
    "tree": tree,
    "layers": layers,
}


def rendered(text: str) -> str:
    """``text`` with every block as the code has it now. Raises KeyError for a block nobody can make."""
    return _BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]]()}\n{found[3]}", text)


def documents() -> list[Path]:
    """The Markdown files of the project, wherever they stand."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted([*ROOT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*.md"))])


def main() -> None:
    """Rewrite the documents whose blocks are out of date."""
    for path in documents():
        text = path.read_text(encoding="utf-8")
        if (fresh := rendered(text)) != text:
            path.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
