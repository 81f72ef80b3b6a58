"""The pages about promises and policies say what is true of the tests and of the package."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from published import ROOT

import vocalsep_async

DOCS = ROOT / "docs"
PROMISES = (DOCS / "explanation" / "promises.md").read_text(encoding="utf-8")
POLICIES = (DOCS / "explanation" / "policies.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

NAMED = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", PROMISES)
LEAD = re.compile(r"^- \*\*(.*?)\*\*", re.MULTILINE | re.DOTALL)
GUARANTEES = {
    "SECURITY.md": "## What the package guarantees",
    "docs/how-to/downloads.md": "## What is guaranteed",
    "docs/how-to/uploads.md": "## What is guaranteed",
}


def names_in(file: Path) -> set[str]:
    """The names of the tests of a file, those of classes below the name of the class."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.ClassDef(name=of, body=body):
                found |= {f"{of}::{each.name}" for each in body if hasattr(each, "name")}
    return found


def leads_in(text: str) -> list[str]:
    return [lead.rstrip(".") for lead in LEAD.findall(text)]


def leads_of(page: str, heading: str) -> list[str]:
    """The words in bold that begin the guarantees of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    section = text.partition(f"{heading}\n")[2].partition("\n## ")[0]
    return leads_in(section)


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_every_test_that_the_promises_name_exists(file: str) -> None:
    names = {name for of, name in NAMED if of == file}
    missing = names - names_in(ROOT / file)
    assert not missing, f"docs/explanation/promises.md names {missing}, which {file} lacks"


def test_every_promise_names_a_test() -> None:
    promises = re.split(r"^- ", PROMISES, flags=re.MULTILINE)[1:]
    assert len(promises) > 50
    assert [each.split("\n")[0] for each in promises if "::test_" not in each] == []


@pytest.mark.parametrize("page", GUARANTEES)
def test_every_guarantee_of_a_page_is_among_the_promises(page: str) -> None:
    guarantees = leads_of(page, GUARANTEES[page])
    assert len(guarantees) > 5
    missing = set(guarantees) - set(leads_in(PROMISES))
    assert not missing, f"docs/explanation/promises.md names no test of {missing}"


def test_the_pythons_of_the_policies_are_those_of_the_classifiers() -> None:
    named = re.findall(r"^\| (3\.\d+) \|", POLICIES, re.MULTILINE)
    classified = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if ":: 3." in each]
    assert named == classified
    assert PROJECT["requires-python"] == f">={named[0]}"


def test_the_policies_say_what_is_deprecated() -> None:
    package = Path(vocalsep_async.__file__).parent
    warns = [each for each in package.rglob("*.py") if "DeprecationWarning" in each.read_text()]
    assert ("Nothing is deprecated at present." in POLICIES) == (not warns)


def test_the_changelog_begins_with_the_version_of_the_package() -> None:
    headings = re.findall(r"^## \[(.*?)\]", CHANGELOG, re.MULTILINE)
    assert headings[0] == vocalsep_async.__version__


def test_the_changelog_has_the_kinds_that_the_policies_name() -> None:
    kinds = set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE))
    assert kinds
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_no_entry_of_the_changelog_stands_twice() -> None:
    lines = [line for line in CHANGELOG.splitlines() if len(line) > 40]
    assert [line for line in set(lines) if lines.count(line) > 1] == []
