"""Every Python block of the README and of ``docs/`` runs, against the emulator.

A whole program runs in a process of its own; a test file runs under pytest; a fragment runs inside
a coroutine that has a ``client``, a ``task_id`` and ``task_ids``, in a folder with a ``song.mp3``.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from pages import files_of

from vocalsep_async.emulator import Emulator

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
README = PAGES["README.md"]
BLOCKS_OF = {
    "README.md": 1,
    "docs/explanation/schedule.md": 2,
    "docs/explanation/timeouts.md": 4,
    "docs/tutorial.md": 5,
    "docs/how-to/batches.md": 7,
    "docs/how-to/downloads.md": 5,
    "docs/how-to/limiter.md": 1,
    "docs/how-to/loops.md": 1,
    "docs/how-to/songs.md": 5,
    "docs/how-to/testing.md": 4,
    "docs/how-to/tracing.md": 5,
    "docs/how-to/uploads.md": 2,
    "docs/how-to/webhooks.md": 6,
    "docs/reference/errors.md": 4,
    "docs/reference/events.md": 2,
    "docs/reference/providers.md": 4,
}
"""How many Python blocks each page has. Every one runs, but those of `NEEDS`."""
NEEDS = {
    "docs/how-to/tracing.md-3": "opentelemetry.exporter.prometheus",
    "docs/how-to/tracing.md-5": "structlog",
}
"""Blocks that run only where a package is installed that neither this one nor its tests need."""
FILES_RUN_BY = {
    "docs/tutorial.md": "how_to/test_tutorial.py",
}
"""Pages that show whole files, as "Save this as `name.py`:", and the tests that run those."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


class Block(NamedTuple):
    page: str
    number: int
    code: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"

    @property
    def is_file(self) -> bool:
        return self.page in FILES_RUN_BY and self.code in files_of(self.page).values()

    @property
    def is_program(self) -> bool:
        return "asyncio.run(main" in self.code

    @property
    def is_test_file(self) -> bool:
        return "def test_" in self.code


def found_blocks() -> Iterator[Block]:
    for page, text in PAGES.items():
        codes = [code for language, code in FENCE.findall(text) if language == "python"]
        yield from (Block(page, number, code) for number, code in enumerate(codes, 1))


FOUND = tuple(found_blocks())
FILES = [block for block in FOUND if block.is_file]
BLOCKS = [block for block in FOUND if not block.is_file]
PROGRAMS = [block for block in BLOCKS if block.is_program]
TEST_FILES = [block for block in BLOCKS if block.is_test_file]
FRAGMENTS = [block for block in BLOCKS if not (block.is_program or block.is_test_file)]


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, object]:
    return {"speed": 1000.0}


def test_every_page_runs_as_many_blocks_as_it_shows() -> None:
    pages = [block.page for block in (*PROGRAMS, *TEST_FILES, *FRAGMENTS, *FILES)]
    assert {page: pages.count(page) for page in pages} == BLOCKS_OF


def test_every_page_that_shows_files_has_a_test_that_runs_them() -> None:
    assert {block.page for block in FILES} == FILES_RUN_BY.keys()
    assert all((ROOT / "tests" / name).is_file() for name in FILES_RUN_BY.values())


@pytest.mark.parametrize("page", PAGES)
def test_every_fence_names_a_language_that_is_known(page: str) -> None:
    fences = re.findall(r"^\s*```(.*)$", PAGES[page], re.MULTILINE)
    assert len(fences) == 2 * len(FENCE.findall(PAGES[page]))
    assert set(fences[::2]) <= {"python", "sh", "console", "text"}


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_separates_a_song_and_saves_its_stems(
    block: Block, vocalsep_emulator: Emulator, tmp_path: Path
) -> None:
    environ = {
        **os.environ,
        "VOCALSEP_API_KEY": "a-key",
        "VOCALSEP_BASE_URL": vocalsep_emulator.url,
        "VOCALSEP_UPLOAD_URL": vocalsep_emulator.url,
    }
    tmp_path.joinpath("song.mp3").write_bytes(vocalsep_emulator.original_wav())
    command = [sys.executable, "-c", block.code, "song.mp3"]
    run = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    saved = {(tmp_path / line).stem for line in run.stdout.splitlines()}
    assert saved == {"vocal", "instrumental"}
    assert all((tmp_path / line).is_file() for line in run.stdout.splitlines())


@pytest.mark.parametrize("block", TEST_FILES, ids=str)
def test_a_test_file_passes(block: Block, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(block.code)
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def run_fragment(block: Block, emulator: Emulator, task_ids: list[str]) -> None:
    async def run() -> None:
        async with emulator.client() as client:
            names = {
                "__name__": "fragment",
                "client": client,
                "task_id": task_ids[0],
                "task_ids": task_ids,
            }
            code = compile(block.code, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if inspect.isawaitable(result):
                await result

    asyncio.run(run())


@pytest.mark.parametrize("block", FRAGMENTS, ids=str)
def test_a_fragment_runs(
    block: Block,
    vocalsep_emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if str(block) in NEEDS:
        pytest.importorskip(NEEDS[str(block)])
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("song.mp3").write_bytes(vocalsep_emulator.original_wav())
    task_ids = [vocalsep_emulator.add_task(duration=0.1) for _ in range(3)]
    run_fragment(block, vocalsep_emulator, task_ids)


def test_the_first_batch_prints_stems_and_the_reason_of_a_failure(
    vocalsep_emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = (vocalsep_emulator.add_task(duration=0.1) for _ in range(2))
    vocalsep_emulator.fail(bad, message="no voice in this song")
    (block,) = (each for each in FRAGMENTS if str(each) == "docs/how-to/batches.md-1")
    run_fragment(block, vocalsep_emulator, [good, bad])
    lines = capsys.readouterr().out.splitlines()
    (of_good,) = (line for line in lines if line.startswith(good))
    (of_bad,) = (line for line in lines if line.startswith(bad))
    assert "vocal" in of_good
    assert "fail" not in of_good
    assert "failed" in of_bad
    assert "no voice in this song" in of_bad


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_or_heading_leads_there(page: str) -> None:
    for name, heading in LINK.findall(PAGES[page]):
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), name
        if heading:
            headings = HEADING.findall(target.read_text(encoding="utf-8"))
            assert heading in {anchor(each) for each in headings}, heading


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_first_program_of_the_readme_is_short() -> None:
    assert len(PROGRAMS[0].code.splitlines()) <= 15


def test_ci_runs_the_test_command_of_the_readme() -> None:
    command = next(line for line in README.splitlines() if "nox -s tests" in line)
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
