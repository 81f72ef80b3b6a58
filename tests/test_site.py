"""The checks of the documentation site that need no site; `nox -s site` builds it."""

from __future__ import annotations

import importlib.util
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
API = ROOT / "docs" / "reference" / "api"
HEAD = b"# Sphinx inventory version 2\n# Project: p\n# Version: 1\n# zlib\n"


def check_site() -> Any:
    spec = importlib.util.spec_from_file_location("check_site", ROOT / "docs" / "check_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECK = check_site()


def names_in(folder: Path, **files: str) -> dict[str, list[str]]:
    for name, text in files.items():
        path = folder.joinpath(*name.split("/")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found: dict[str, list[str]] = CHECK.public_names(folder)
    return found


def test_every_public_module_has_a_page_of_its_names() -> None:
    shown = {
        module: path.stem
        for path in API.glob("*.md")
        for module in re.findall(r"automodule:: vocalsep_async\.(\S+)", path.read_text())
    }
    modules = CHECK.public_names(ROOT / "vocalsep_async")
    missing = sorted(modules.keys() - shown.keys())
    assert not missing, f"write docs/reference/api/{missing[0]}.md, as limiter.md is written"
    assert shown == {module: module for module in modules}


def test_every_example_is_on_the_page_of_examples() -> None:
    page = (ROOT / "docs" / "how-to" / "examples.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"literalinclude} \.\./\.\./examples/(\S+)", page))
    assert shown == {path.name for path in (ROOT / "examples").glob("*.py")}


def test_a_module_has_the_names_that_it_lists_or_else_those_it_defines(tmp_path: Path) -> None:
    found = names_in(
        tmp_path,
        listing="__all__ = ['a']\nfrom x import a\ndef b(): ...",
        defining="from x import a\nclass C: ...\nasync def d(): ...\ndef _e(): ...\n",
        _private="class P: ...",
        durations="def view_of(): ...\nclass Durations: ...",
    )
    assert found == {"defining": ["C", "d"], "durations": ["Durations"], "listing": ["a"]}


def test_a_package_that_lists_its_names_stands_for_its_modules(tmp_path: Path) -> None:
    found = names_in(
        tmp_path,
        **{"open/__init__": "", "open/inner": "class A: ...", "cli/__init__": "class B: ..."},
        **{"closed/__init__": "__all__ = ['C']", "closed/inner": "class C: ..."},
    )
    assert found == {"closed": ["C"], "open": [], "open.inner": ["A"]}


@pytest.mark.parametrize(
    "link",
    [
        "b.html",
        "b.html#place",
        "#here",
        "",
        "picture.svg",
        "https://example.com/x#y",
        "b.html#a%20b",
    ],
)
def test_a_link_that_leads_somewhere_is_no_problem(tmp_path: Path, link: str) -> None:
    assert broken_in(tmp_path, link) == []


@pytest.mark.parametrize("link", ["c.html", "b.html#nowhere", "#there", "../b.html", "other.svg"])
def test_a_link_that_leads_nowhere_is_named_with_its_page(tmp_path: Path, link: str) -> None:
    assert broken_in(tmp_path, link) == [f"a.html: {link}"]


def broken_in(site: Path, link: str) -> list[str]:
    site.joinpath("picture.svg").touch()
    site.joinpath("b.html").write_text('<p id="place"></p><a name="a b"></a>', encoding="utf-8")
    site.joinpath("a.html").write_text(
        f'<p id="here"><a href="{link}">x</a><img src="{link}"></p>', encoding="utf-8"
    )
    return sorted(set(CHECK.broken_links(site)))


def test_the_names_of_an_inventory_are_those_with_an_entry(tmp_path: Path) -> None:
    entries = b"p.C py:class 1 c.html#$ -\np.C.m py:method 1 c.html#$ -\n"
    tmp_path.joinpath("objects.inv").write_bytes(HEAD + zlib.compress(entries))
    assert CHECK.documented_names(tmp_path) == {"p.C", "p.C.m"}


def test_ci_builds_the_site() -> None:
    assert " site " in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_locked_versions_name_no_host() -> None:
    lines = (ROOT / "docs" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
