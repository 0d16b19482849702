"""What do the package's tables say, as pages of the reference?

Each page is a function that reads the rows which the program itself reads, so no name stands in the
documentation a second time. ``docs/hooks.py`` hands the pages to mkdocs.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_llmbench.servers.table import Start
    from pytest_llmbench.settings.rows import Setting

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pytest_llmbench"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a cell may have any text in it."""
    cells = [[_cell(cell) for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    # In code, Python's Markdown keeps a stroke as it is, and a backslash before it too.
    return re.sub(r"(`[^`]*`)|\|", lambda match: match[1] or "\\|", text.replace("\n", " "))


def code(text: object) -> str:
    """*text* as code; nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def codes(values: Iterable[object]) -> str:
    """Several texts as code, with commas between them."""
    return ", ".join(code(value) for value in values)


def sentence(text: str) -> str:
    """*text* as a sentence; a name at its beginning stays as it is."""
    text = text.strip().replace("<", "&lt;")
    first, *_ = text.split() or [""]
    begin = text[:1].upper() if first.rstrip(",:;").isalpha() else text[:1]
    return f"{begin}{text[1:]}" + ("" if text.endswith((".", "?", "!")) else ".")


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of what is known of one thing; what is empty is left out."""
    return "".join(f"- {name}: {value}\n" for name, value in pairs if value)


def page(title: str, *parts: str) -> str:
    """A page: its title and its parts, with a line between them."""
    return "\n\n".join([f"# {title}", *(part.strip() for part in parts if part.strip())]) + "\n"


# -- settings ---------------------------------------------------------------------------------


def settings() -> str:
    """Every setting of a case: where it can be set, its default, and for which cases it is."""
    from pytest_llmbench.settings.case import SETTINGS
    from pytest_llmbench.settings.kinds import KINDS

    titles = {
        "cases": "Which cases there are",
        "work": "What is measured",
        "repeats": "How often, and for how long",
        "test": "What holds for a whole test",
    }
    rows = sorted(SETTINGS.values(), key=lambda row: list(titles).index(row.role))
    overviews = [
        f"## {title}\n\n" + _overview(row for row in rows if row.role == role)
        for role, title in titles.items()
    ]
    details = [
        f"### `{row.key}` {{ #{row.key} }}\n\n{sentence(row.help)}\n\n"
        + facts(
            (
                (
                    "command line",
                    code(_flag(row.flag, row.metavar)) + (", repeatable" if row.flag and row.many else ""),
                ),
                ("ini file", code(row.name) if row.ini_type else ""),
                ("marker", code(f"@pytest.mark.llm({row.key}=...)")),
                ("for one call", _call(row.key)),
                ("default", code(row.default_text)),
                ("only for", "; ".join(KINDS[kind] for kind in row.only)),
                ("other tools call it", codes(row.also)),
            )
        )
        for row in rows
    ]
    return page(
        "Settings of a case",
        "What is measured, how often, and with which model. Where several places set the same thing, the "
        "command line wins over the marker, and the marker over the ini file; a "
        "[preset](../guides/presets.md) is weaker than the place that names it. How to choose among them is "
        "in [Writing benchmarks](../guides/measuring.md).",
        *overviews,
        "## One by one",
        *details,
    )


def _overview(rows: Iterable[Setting]) -> str:
    return table(
        ("Setting", "Command line", "Default"),
        (
            (f"[`{row.key}`](#{row.key})", code(_flag(row.flag, row.metavar)), code(row.default_text))
            for row in rows
        ),
    )


def _flag(flag: str, metavar: str, alone: str = "") -> str:
    return (f"{flag}[={metavar}]" if alone else f"{flag}={metavar}") if flag else ""


def _default(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _call(key: str) -> str:
    from pytest_llmbench.settings.case import call_keys
    from pytest_llmbench.settings.kinds import FIXTURES

    return ", ".join(code(f"{name}.measure({key}=...)") for name in FIXTURES if key in call_keys(name))


# -- options of a session ---------------------------------------------------------------------


def session_options() -> str:
    """Every option of a whole session."""
    from pytest_llmbench.settings.session import SESSION_SETTINGS

    parts = [
        f"## `{row.flag or row.name}` {{ #{row.flag.removeprefix('--llm-') or row.key} }}\n\n"
        f"{sentence(row.help)}\n\n"
        + facts(
            (
                (
                    "command line",
                    code(row.flag if row.switch else _flag(row.flag, row.metavar, row.alone))
                    + (", repeatable" if row.flag and row.many else ""),
                ),
                ("ini file", code(row.name) if row.ini_type else ""),
                ("default", code(row.default_text)),
                ("other tools call it", codes(row.also)),
            )
        )
        for row in SESSION_SETTINGS.values()
    ]
    return page(
        "Options of a session",
        "These hold for a whole run of pytest. What holds for single cases is in "
        "[Settings of a case](settings.md).",
        *parts,
    )


# -- metrics ----------------------------------------------------------------------------------


def metrics() -> str:
    """Every metric: formula, unit, source, scope, and how it is judged."""
    from pytest_llmbench.metrics.row import Metric
    from pytest_llmbench.metrics.table import METRICS

    def judged(row: Metric) -> str:
        if row.judged == "never":
            return "never judged"
        how = " with a tolerance, since it repeats itself" if row.exact else " by a statistical test"
        when = "judged by default" if row.gates else "judged if `--llm-gate` names it"
        if row.clock == "cpu":
            when += ", and instead of times by [`--llm-clock`](settings.md#clock)"
        return f"{when},{how}; may be {row.allowed:.0%} worse by default"

    scopes = {
        "gap": "one gap between two tokens",
        "round": "one round, under load one request",
        "process": "one process",
        "level": "one load level",
        "case": "one case",
    }
    clocks = {
        "wall": "",
        "cpu": "of the CPUs: the time that a process had of them, whatever others had meanwhile",
    }
    overview = table(
        ("Metric", "Unit", "Better"),
        ((f"[`{row.name}`](#{row.name})", row.unit, row.better) for row in METRICS.values()),
    )
    details = [
        f"## `{row.name}` {{ #{row.name} }}\n\n"
        + facts(
            (
                ("formula", row.formula.replace("<", "&lt;")),
                ("unit", row.unit),
                ("better", row.better),
                ("one value for", scopes[row.scope]),
                ("clock", clocks[row.clock]),
                (
                    "on the CPU's clock",
                    f"[`{row.on_cpu}`](#{row.on_cpu}) tells the same" if row.on_cpu else "",
                ),
                ("limits", sentence(row.limits) if row.limits else ""),
                ("source of the formula", row.source),
                ("in the gate", judged(row)),
                ("as an SLO", "may be limited with `--llm-slo`" if row.slo else ""),
            )
        )
        for row in METRICS.values()
    ]
    return page(
        "Metrics",
        "Units are SI units and tokens, in Python, in documents and in exports alike. What the numbers "
        "mean, and how other tools call them, is in [What a number means](../guides/numbers.md).",
        overview,
        *details,
    )


# -- backends and servers ---------------------------------------------------------------------


def backends() -> str:
    """Every backend that is built in, with its options and quantizations."""
    from pytest_llmbench.backends.registry import BUILTIN, from_reference

    parts = []
    for name, reference in BUILTIN.items():
        backend = from_reference(reference)
        install = code(f"pip install 'pytest-llmbench[{backend.extra}]'") if backend.extra else ""
        parts.append(
            f"## `{name}` {{ #{name} }}\n\n{sentence(inspect.getdoc(type(backend)) or '')}\n\n"
            + facts(
                (
                    ("model files", code(backend.form)),
                    ("install", install),
                    ("quantizations", codes(backend.quantizations)),
                )
            )
        )
        parts.append(options_table(name, backend.options))
    return page(
        "Backends and their options",
        "An option is given as `--llm-option=BACKEND.NAME=VALUE` on the command line, a line each in the "
        "ini option `llm_backend_options`, or as `backend_options={...}` in the marker. "
        "[Writing a backend](../guides/extending.md) shows how to add one.",
        *parts,
    )


def options_table(owner: str, options: Iterable[Any]) -> str:
    """What can be set of a backend or of servers."""
    from pytest_llmbench.settings.kinds import KINDS

    return table(
        ("Option", "Default", "What it does"),
        (
            (
                code(f"{owner}.{option.name}"),
                code(_default(option.default)),
                sentence(option.help)
                + (f" One of {codes(option.choices)}." if option.choices else "")
                + (f" Only for {'; '.join(KINDS[kind] for kind in option.only)}." if option.only else ""),
            )
            for option in options
        ),
    )


def servers() -> str:
    """Every server that a session can start, with its commands, and what can be set of servers."""
    from pytest_llmbench.servers.options import SERVER, SERVER_OPTIONS
    from pytest_llmbench.servers.table import ENGINES

    overview = table(
        ("Server", "Model files", "Container image", "Tested with the real one"),
        (
            (
                f"[`{row.name}`](#{row.name})",
                row.form,
                code(row.container.image) if row.container else "none",
                "yes" if row.ran else "no",
            )
            for row in ENGINES.values()
        ),
    )
    details = [
        f"## `{row.name}` {{ #{row.name} }}\n\n"
        + facts(
            (
                ("start it with", code(f"--llm-serve={row.name}")),
                ("model files", code(row.form)),
                ("install", code(row.install) if row.install.startswith("pip ") else row.install),
                ("command", code(" ".join((*row.program, *row.arguments)))),
                ("where a context length is asked for", code(" ".join(row.context))),
                ("ready when this path answers", code(row.health)),
                ("counters", code(row.metrics or "")),
                ("container image", code(row.container.image) if row.container else ""),
                ("its documentation", f"<{row.docs}>"),
            )
        )
        + "".join(
            f"\nStart your own with {codes([' '.join(need.arguments)])}: {sentence(need.why)}\n"
            for need in row.needs
        )
        + _starts(row.name, row.starts)
        for row in ENGINES.values()
    ]
    return page(
        "Servers that a session can start",
        "`--llm-serve=NAME` starts one of these, `--llm-serve=docker:NAME` its container image, and "
        "`--llm-serve=NAME:PRESET` either with a [preset](../guides/servers.md#presets-of-a-start). Rows "
        "that are not tested with the real server are made from that server's documentation; only the "
        "command built from them is tested. [Load tests](../guides/load-tests.md) says how to measure one.",
        overview,
        "## Options of servers { #options }\n\nThey hold for servers that run already too, and are given as "
        "those of backends are: `--llm-option=server.NAME=VALUE`, or `backend_options={'server': {...}}` in "
        "the marker.",
        options_table(SERVER, SERVER_OPTIONS.options),
        *details,
    )


def _starts(engine: str, starts: Sequence[Start]) -> str:
    """The presets of an engine's start; nothing where it has none."""
    if not starts:
        return ""
    rows = ((code(f"{engine}:{one.name}"), sentence(one.description), code(one.text)) for one in starts)
    return "\n" + table(("Preset", "For", "It is started with"), rows)


# -- command line -----------------------------------------------------------------------------


def command_line() -> str:
    """Every command of ``llmbench``."""
    import typer.main

    from pytest_llmbench.cli.app import app

    root = typer.main.get_command(app)
    return page(
        "The command llmbench",
        "What can be done with results and models without a test session. `llmbench COMMAND --help` prints "
        "the same on a terminal.",
        "\n\n".join(_commands(root, "llmbench")),
        sentence(getattr(root, "epilog", "") or "Exit status: 0 done"),
    )


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        title = f"{path} {name}"
        context = command.make_context(title, [], resilient_parsing=True)
        with context:
            usage = " ".join(command.collect_usage_pieces(context))
            rows = [
                (code(record[0]), _option_help(record[1]))
                for parameter in command.params
                if (record := parameter.get_help_record(context)) is not None
            ]
        help_text = textwrap.dedent(command.help or "").replace("\b", "").strip()
        block = f"## {title}\n\n{help_text}\n\n`{title} {usage}`\n\n"
        yield block + (table(("Option", "What it does"), rows) if rows else "")
        if hasattr(command, "commands"):
            yield from _commands(command, title)


def _option_help(text: str) -> str:
    found = re.fullmatch(r"(.*?)\s*\[([^\[\]]*)\]", text, re.DOTALL)
    return sentence(text) if found is None else f"{sentence(found[1])} {sentence(found[2])}"


# -- Python -----------------------------------------------------------------------------------


def python() -> str:
    """Every public name, read by mkdocstrings."""
    import pytest_llmbench

    parts = []
    for module, names in sorted(pytest_llmbench._HOMES.items(), key=lambda home: home[0].split(".")[1]):
        path = PACKAGE.parent / Path(*module.split("."))
        question = first_line(path.with_suffix(".py"))
        parts.append(f"## {question}\n\n" + "\n\n".join(map(_public_name, names)))
    return page(
        "Python",
        "What `pytest_llmbench` exports is public and is kept; everything else may change in any version. "
        "The names are in groups, each below the question that its module answers.",
        *parts,
    )


def _public_name(name: str) -> str:
    import pytest_llmbench

    value = getattr(pytest_llmbench, name)
    # What only the plugin makes is not shown as something to be made.
    made = not isinstance(value, type) or not any(key.startswith("_") for key in _parameters(value))
    options = "" if made else "\n    options:\n      merge_init_into_class: false"
    return f"::: pytest_llmbench.{name}{options}"


def _parameters(value: type) -> Sequence[str]:
    try:
        return list(inspect.signature(value).parameters)
    except ValueError:
        return []


def hooks() -> str:
    """Every hook and entry point by which another package extends this one."""
    from pytest_llmbench.backends.registry import ENTRY_POINT_GROUP
    from pytest_llmbench.plugin import hookspecs

    names = [name for name in vars(hookspecs) if name.startswith("pytest_llmbench_")]
    return page(
        "Hooks and entry points",
        "A `conftest.py` or another plugin adds to what is built in by these hooks. "
        f"An installed package can use the entry point group `{ENTRY_POINT_GROUP}` instead: each entry names "
        "a backend, or a class that makes one. See [Extending](../guides/extending.md).",
        *(f"::: pytest_llmbench.plugin.hookspecs.{name}" for name in names),
    )


# -- the tree and the document ----------------------------------------------------------------


def tree() -> str:
    """Every folder and module, with the question that it answers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = (
        contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["id"] == "layers"
    )
    order = [name.strip() for layer in reversed(layers) for name in layer.split("|")]
    folders = [PACKAGE / name for name in order if (PACKAGE / name).is_dir()]
    root = sorted(PACKAGE.glob("*.py"))
    parts = [
        f"## {title}\n\n"
        + table(
            ("Module", "Its question"),
            ((code(path.relative_to(PACKAGE)), sentence(first_line(path))) for path in modules),
        )
        for title, modules in [
            ("Modules of the root", root),
            *((f"{folder.name}/", sorted(folder.rglob("*.py"))) for folder in folders),
        ]
    ]
    return page(
        "The tree",
        "Each module's first line is the question that it answers. A folder imports only from the folders "
        "above it on this page; `tox run -e lint` checks that.",
        *parts,
    )


def first_line(path: Path) -> str:
    """The first paragraph of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def document() -> str:
    """Every key of a results document."""
    from pytest_llmbench.results.records import SCHEMA_VERSION, ResultsDocument

    schema = ResultsDocument.model_json_schema()
    objects = {"The document": schema, **schema.get("$defs", {})}
    return page(
        "The results document",
        f"Schema version {SCHEMA_VERSION}. `llmbench schema` prints the JSON Schema itself. Units are SI "
        "units. A value that could not be read is `null`, with its reason nearby, and never 0.",
        *(
            f"## {name}\n\n{_about(part)}\n\n"
            + table(
                ("Key", "Type", "What it is"),
                (
                    (
                        code(key),
                        _type(value),
                        sentence(value.get("description", "")) if value.get("description") else "",
                    )
                    for key, value in part["properties"].items()
                ),
            )
            for name, part in objects.items()
            if part.get("properties")
        ),
    )


def _about(part: Mapping[str, Any]) -> str:
    return textwrap.dedent(part.get("description", "")).replace("<", "&lt;")


def _type(value: Mapping[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_type(one) for one in value["anyOf"]))
    if "enum" in value:
        return codes(value["enum"])
    if value.get("type") == "array":
        return f"list of {_type(value.get('items', {}))}"
    if isinstance(of := value.get("additionalProperties"), Mapping):
        return f"object of {_type(of)}"
    return str(value.get("type", "any"))


PAGES: dict[str, Callable[[], str]] = {
    "reference/settings.md": settings,
    "reference/session-options.md": session_options,
    "reference/metrics.md": metrics,
    "reference/backends.md": backends,
    "reference/servers.md": servers,
    "reference/command-line.md": command_line,
    "reference/python.md": python,
    "reference/hooks.md": hooks,
    "reference/document.md": document,
    "reference/tree.md": tree,
}
"""Where each page stands, and who makes it."""
