"""The build fails where an archive lacks a file, has one too many, or is another one next time."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import archives
import pytest
from published import ROOT

PACKAGE = dict.fromkeys(archives.NEEDED, b"package")
PROJECT = {**PACKAGE, "README.md": b"text", "tests/test_a.py": b"test", ".ci/run": b"run"}


def wheel_of(files: archives.Files) -> dict[str, bytes]:
    return {**files, **{f"a-1.dist-info/{name}": b"" for name in archives.METADATA}}


def sdist_of(files: archives.Files) -> dict[str, bytes]:
    return {f"a-1/{name}": content for name, content in {**files, "PKG-INFO": b""}.items()}


def without(files: archives.Files, name: str) -> dict[str, bytes]:
    return {each: content for each, content in files.items() if each != name}


def test_archives_that_hold_what_they_must_have_no_problem() -> None:
    assert [*archives.problems(wheel_of(PACKAGE), sdist_of(PROJECT), PROJECT)] == []


TYPED = "vocalsep_async/py.typed"


@pytest.mark.parametrize(
    "wheel, sdist, project, problem",
    [
        (without(PACKAGE, TYPED), PROJECT, PROJECT, f"the wheel lacks {TYPED}"),
        (PROJECT, PROJECT, PROJECT, "the wheel must not have tests/test_a.py"),
        ({**PACKAGE, TYPED: b"x"}, PROJECT, PROJECT, f"{TYPED} in the wheel is not that"),
        (PACKAGE, without(PROJECT, ".ci/run"), PROJECT, "distribution lacks .ci/run"),
        (PACKAGE, {**PROJECT, "notes": b""}, PROJECT, "must not have notes"),
        (PACKAGE, {**PROJECT, "README.md": b""}, PROJECT, "README.md in the source"),
        (PACKAGE, PROJECT, without(PROJECT, TYPED), f"the project lacks {TYPED}"),
        (
            {**PACKAGE, "vocalsep_async/data.lua": b""},
            PROJECT,
            PROJECT,
            "the wheel must not have vocalsep_async/data.lua",
        ),
        (
            PACKAGE,
            PROJECT,
            {**PROJECT, "vocalsep_async/data.lua": b""},
            "the wheel lacks vocalsep_async/data.lua",
        ),
    ],
)
def test_an_archive_that_differs_from_the_project_is_a_problem(
    wheel: archives.Files, sdist: archives.Files, project: archives.Files, problem: str
) -> None:
    found = [*archives.problems(wheel_of(wheel), sdist_of(sdist), project)]
    assert any(problem in each for each in found), found


@pytest.mark.parametrize("name", sorted(archives.METADATA))
def test_a_wheel_without_its_metadata_is_a_problem(name: str) -> None:
    wheel = without(wheel_of(PACKAGE), f"a-1.dist-info/{name}")
    found = [*archives.problems(wheel, sdist_of(PROJECT), PROJECT)]
    assert found == [f"the wheel lacks its {name}"]


def test_metadata_that_are_not_known_are_a_problem() -> None:
    wheel = {**wheel_of(PACKAGE), "a-1.dist-info/notes": b""}
    found = [*archives.problems(wheel, sdist_of(PROJECT), PROJECT)]
    assert found == ["the wheel has a strange notes"]


def test_a_source_distribution_without_metadata_is_a_problem() -> None:
    sdist = without(sdist_of(PROJECT), "a-1/PKG-INFO")
    found = [*archives.problems(wheel_of(PACKAGE), sdist, PROJECT)]
    assert found == ["the source distribution lacks its PKG-INFO"]


def test_two_builds_must_make_the_same_archives(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, files in ((first, "same other one"), (second, "same other")):
        folder.mkdir()
        for name in files.split():
            content = folder.name if name == "other" else name
            (folder / name).write_text(content, encoding="ascii")
    assert [*archives.unequal(first, second)] == [
        "only one of two builds made one",
        "two builds made two different other",
    ]


def test_the_source_distribution_takes_every_file_of_the_project() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packed = tomllib.loads(text)["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    # Hatch adds these two itself.
    taken = [*packed, "/pyproject.toml", "/.gitignore"]
    patterns = [re.compile(re.escape(each[1:]).replace(r"\*", "[^/]*") + "(/|$)") for each in taken]
    left = [name for name in archives.published() if not any(each.match(name) for each in patterns)]
    assert left == []
