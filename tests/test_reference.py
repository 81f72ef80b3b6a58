"""The pages of the reference list all that the code has: variables, exit statuses, metrics."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeter, NoOpMeterProvider

from vocalsep_async import NotBegunError
from vocalsep_async.cli import process
from vocalsep_async.cli.process import ExitCode
from vocalsep_async.contrib._otel_metrics import Instruments

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vocalsep_async"
METRIC = re.compile(r"^\| `(vocalsep[\w.]+)` \| ([^|]*, [^|]*) \|", re.MULTILINE)
FIRST_CELL = re.compile(r"^\| (`[^|]*?) \|", re.MULTILINE)
CHOSEN_BY_A_VARIABLE = {
    ("_arguments.py", "variable"): {"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"},
    ("cli/listening.py", "variable"): {"VOCALSEP_WEBHOOK_KEY", "VOCALSEP_CALLBACK_SECRET"},
    ("cli/options.py", "variable"): {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"},
}
"""What is read where the name of a variable of the environment is itself in a variable."""
READ_BY_OTHERS = {"NO_COLOR", "SSL_CERT_DIR", "SSL_CERT_FILE"}
READ_BY_THE_STANDARD_LIBRARY = {"NO_PROXY"}
KINDS = {
    "create_histogram": "histogram",
    "create_counter": "counter",
    "create_observable_up_down_counter": "up-down counter",
    "create_observable_gauge": "gauge",
}


def page(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")


def variables_in(source: str, file: str) -> Iterator[str]:
    """The variables of the environment that a module reads."""
    tree = ast.parse(source)
    constants: dict[str, Any] = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    for name in names_read(tree):
        if isinstance(name, ast.Constant):
            yield str(name.value)
        elif ast.unparse(name) in constants:
            yield constants[ast.unparse(name)]
        else:
            yield from CHOSEN_BY_A_VARIABLE[file, ast.unparse(name)]


def names_read(tree: ast.Module) -> Iterator[Any]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=mapping, attr="get" | "pop"), args=[name, *_]):
                pass
            case ast.Call(func=ast.Attribute(attr="getenv") as mapping, args=[name, *_]):
                mapping = ast.Name("environ")
            case ast.Subscript(value=mapping, slice=name):
                pass
            case ast.Compare(left=name, ops=[ast.In() | ast.NotIn()], comparators=[mapping]):
                pass
            case _:
                continue
        if ast.unparse(mapping).rpartition(".")[2] == "environ":
            yield name
    # Ours, however they are read.
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and re.fullmatch(r"VOCALSEP_[A-Z_]+", str(node.value)):
            yield node


def test_every_way_to_read_a_variable_is_seen() -> None:
    source = """
_NAME = "D"
os.environ["A"], os.environ.get("B", ""), environ.get("C"), environ[_NAME], os.getenv("E")
if "F" in os.environ and "G" not in environ: os.environ.pop("H")
other["X"], other.get("Y"), read("VOCALSEP_A"), "VOCALSEP_A in a text"
"""
    assert sorted(variables_in(source, "a.py")) == [*"ABCDEFGH", "VOCALSEP_A"]
    with pytest.raises(KeyError, match="a_new_one"):
        list(variables_in("os.environ[a_new_one]", "a.py"))


def test_the_page_of_variables_lists_those_that_the_package_reads() -> None:
    read = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in variables_in(
            path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).as_posix()
        )
    }
    cells = FIRST_CELL.findall(page("environment.md"))
    listed = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert listed == read | READ_BY_OTHERS | READ_BY_THE_STANDARD_LIBRARY


def test_the_page_of_exit_statuses_lists_all_by_number_and_name() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", page("exit-statuses.md"), re.MULTILINE)
    assert [(int(number), name) for number, name in rows] == [
        (code.value, code.name) for code in ExitCode
    ]


def test_the_page_of_exit_statuses_has_their_order() -> None:
    order = ", ".join(str(code.value) for code in process._SEVERITY)
    assert f"From best to worst: {order}." in " ".join(page("exit-statuses.md").split())


def test_the_page_of_exit_statuses_has_the_status_of_each_error() -> None:
    rows = re.findall(r"^\| (`\w+Error`.*?) \| (.*?) \|$", page("exit-statuses.md"), re.MULTILINE)
    listed = {name: status for names, status in rows for name in re.findall(r"\w+", names)}
    known = {error.__name__: str(code.value) for error, code in process._EXIT_CODES.items()}
    assert listed == known | {NotBegunError.__name__: listed[NotBegunError.__name__]}


class Recorder(NoOpMeterProvider):
    """Keeps what instruments are made, each as the page has it: name, and kind with unit."""

    def __init__(self) -> None:
        self.made: set[tuple[str, str]] = set()

    def get_meter(self, *_: Any, **__: Any) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        assert callable(getattr(NoOpMeter, name))

        def make(metric: str, *arguments: Any, **options: Any) -> None:
            unit = next(each for each in (*arguments, options.get("unit")) if type(each) is str)
            self.made.add((metric, f"{KINDS[name]}, {unit}"))

        return make


def test_the_page_of_metrics_lists_all_with_kind_and_unit() -> None:
    recorder = Recorder()
    Instruments(recorder)
    rows = re.findall(
        r"^\| `(vocalsep[\w.]+)` \| ([^|]*, [^|]*) \|", page("metrics.md"), re.MULTILINE
    )
    assert set(rows) == recorder.made
    assert len(rows) == len(recorder.made)


def test_the_page_of_metrics_names_every_span_and_attribute() -> None:
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.glob("contrib/_otel*.py")]
    constants = {
        node.value
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    used = {
        name for name in constants if re.fullmatch(r"(vocalsep|http|server|error)(\.\w+)+", name)
    }
    text = page("metrics.md")
    missing = [
        name
        for name in sorted(used)
        if f"`{name}`" not in text and f"`{name.removeprefix('vocalsep.')}`" not in text
    ]
    assert used
    assert not missing
