"""Every Python block of the README, of ``docs/`` and of public docstrings runs, on the emulator.

A whole program runs in a process of its own; a test file runs under pytest; a fragment runs inside
a coroutine that has a ``client``, a ``task_id`` and ``task_ids``, in a folder with a ``song.mp3``,
and one of a docstring has the names of its module, too. Notes above a block say what else it
needs: see `blocks`.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import pytest
from blocks import Notes, Program, docstring_blocks, page_blocks, public_modules
from pages import files_of

import vocalsep_async
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
    "docs/index.md": 1,
    "docs/tutorial.md": 5,
    "docs/how-to/aiohttp.md": 2,
    "docs/how-to/batches.md": 7,
    "docs/how-to/cron.md": 2,
    "docs/how-to/downloads.md": 5,
    "docs/how-to/fastapi.md": 3,
    "docs/how-to/jupyter.md": 6,
    "docs/how-to/kie.md": 4,
    "docs/how-to/lambda.md": 1,
    "docs/how-to/limiter.md": 1,
    "docs/how-to/moving.md": 3,
    "docs/how-to/prefect.md": 1,
    "docs/how-to/processes.md": 2,
    "docs/how-to/songs.md": 5,
    "docs/how-to/temporal.md": 5,
    "docs/how-to/tracing.md": 5,
    "docs/how-to/uploads.md": 2,
    "docs/how-to/webhooks.md": 6,
    "docs/reference/errors.md": 4,
    "docs/reference/events.md": 2,
    "docs/reference/providers.md": 4,
    "vocalsep_async/__init__.py": 1,
    "vocalsep_async/batch.py": 1,
    "vocalsep_async/contrib/opentelemetry.py": 1,
    "vocalsep_async/emulator/__init__.py": 1,
    "vocalsep_async/instrumentation.py": 1,
    "vocalsep_async/pytest_plugin.py": 1,
    "vocalsep_async/songs.py": 1,
    "vocalsep_async/webhooks.py": 1,
    "docs/how-to/airflow.md": 2,
    "docs/how-to/celery.md": 2,
    "docs/how-to/s3.md": 4,
    "docs/how-to/testing.md": 12,
    "docs/how-to/loops.md": 2,
}
"""How many Python blocks each page and public module has. Every one runs, but for `NOT_RUN`."""
NOT_RUN: dict[str, str] = {}
"""Blocks that no test runs, such as "docs/how-to/songs.md-1", each with the reason."""
NOTES_OF_DOCSTRINGS = {
    "vocalsep_async/pytest_plugin.py-1": Notes(
        before="""
import pytest

pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
    ),
    "vocalsep_async/songs.py-1": Notes(before="songs = ['song.mp3']"),
    "vocalsep_async/webhooks.py-1": Notes(
        before="""
from starlette.requests import Request

async def receive():
    return {"type": "http.request", "body": b'{"code": 200, "data": {"task_id": "a-task"}}'}

request = Request({"type": "http"}, receive)
"""
    ),
}
"""Notes as pages have them; those of a docstring would show in its help."""
FILES_RUN_BY = {
    "docs/tutorial.md": "how_to/test_tutorial.py",
    "docs/how-to/aiohttp.md": "how_to/test_services.py",
    "docs/how-to/cron.md": "how_to/test_cron.py",
    "docs/how-to/fastapi.md": "how_to/test_services.py",
    "docs/how-to/lambda.md": "how_to/test_lambda.py",
    "docs/how-to/moving.md": "how_to/test_moving.py",
    "docs/how-to/processes.md": "shared_limit/test_page.py",
    "docs/how-to/airflow.md": "frameworks/test_airflow.py",
    "docs/how-to/celery.md": "frameworks/test_celery.py",
    "docs/how-to/prefect.md": "frameworks/test_prefect.py",
    "docs/how-to/s3.md": "how_to/test_s3.py",
}
"""Pages that show whole files, as "Save this as `name.py`:", and the tests that run those."""
RUN_BY = {
    "docs/how-to/jupyter.md": "how_to/test_jupyter.py",
    "docs/how-to/temporal.md": "frameworks/test_temporal.py",
}
"""Pages whose blocks belong together, and the tests that run all of them."""
FENCE = re.compile(r"^```([\w{}-]*)(?: [./\w]+)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LANGUAGES = {"python", "sh", "console", "text", "json", "toml", "yaml"}
DIRECTIVES = {"{eval-rst}", "{include}", "{literalinclude}", "{toctree}"}
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


class Block(NamedTuple):
    page: str
    number: int
    code: str
    notes: Notes = Notes()

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"

    @property
    def is_file(self) -> bool:
        return self.page in FILES_RUN_BY and self.code in files_of(self.page).values()

    @property
    def has_its_test(self) -> bool:
        return self.is_file or self.page in RUN_BY

    @property
    def is_program(self) -> bool:
        return "asyncio.run(main" in self.code

    @property
    def is_test_file(self) -> bool:
        return "def test_" in self.code


def found_blocks() -> Iterator[Block]:
    for page, text in PAGES.items():
        for number, (code, notes) in enumerate(page_blocks(text), 1):
            yield Block(page, number, code, notes)
    for path in public_modules():
        page = str(path.relative_to(ROOT))
        for number, code in enumerate(docstring_blocks(path.read_text(encoding="utf-8")), 1):
            notes = NOTES_OF_DOCSTRINGS.get(f"{page}-{number}", Notes())
            yield Block(page, number, code, notes)


FOUND = tuple(found_blocks())
ELSEWHERE = [block for block in FOUND if block.has_its_test]
BLOCKS = [block for block in FOUND if not block.has_its_test and str(block) not in NOT_RUN]
PROGRAMS = [block for block in BLOCKS if block.is_program]
TEST_FILES = [block for block in BLOCKS if block.is_test_file]
FRAGMENTS = [block for block in BLOCKS if not (block.is_program or block.is_test_file)]


def cases(blocks: list[Block]) -> list[object]:
    """Parameters of a test; without what a block needs, it is skipped."""
    return [
        pytest.param(
            block,
            id=str(block),
            marks=pytest.mark.skipif(
                not is_installed(block.notes.needs or "vocalsep-async"),
                reason=f"{block.notes.needs} is not installed",
            ),
        )
        for block in blocks
    ]


def is_installed(distribution: str) -> bool:
    try:
        return bool(version(distribution))
    except PackageNotFoundError:
        return False


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, object]:
    return {"speed": 1000.0}


@pytest.fixture
def folder(vocalsep_emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a song; the environment leads to the emulator."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOCALSEP_API_KEY", "a-key")
    monkeypatch.setenv("VOCALSEP_BASE_URL", vocalsep_emulator.url)
    monkeypatch.setenv("VOCALSEP_UPLOAD_URL", vocalsep_emulator.url)
    tmp_path.joinpath("song.mp3").write_bytes(vocalsep_emulator.original_wav())
    return tmp_path


def test_every_page_has_as_many_blocks_as_are_found() -> None:
    pages = [block.page for block in FOUND]
    assert {page: pages.count(page) for page in pages} == BLOCKS_OF


def test_every_block_runs_but_those_with_a_reason() -> None:
    run = [*PROGRAMS, *TEST_FILES, *FRAGMENTS, *ELSEWHERE]
    assert len(run) == len(set(map(str, run))) == sum(BLOCKS_OF.values()) - len(NOT_RUN)
    assert all(NOT_RUN.values())


def test_every_page_with_blocks_of_its_own_kind_has_a_test_that_runs_them() -> None:
    assert {block.page for block in ELSEWHERE} == FILES_RUN_BY.keys() | RUN_BY.keys()
    for page, name in (FILES_RUN_BY | RUN_BY).items():
        assert page in (ROOT / "tests" / name).read_text(encoding="utf-8")


def test_no_notebook_is_left_out() -> None:
    # Cells are blocks of a page, as in docs/how-to/jupyter.md; its test runs them in a kernel.
    assert not list((ROOT / "docs").rglob("*.ipynb"))


def test_every_note_of_a_docstring_is_for_a_block() -> None:
    assert NOTES_OF_DOCSTRINGS.keys() <= {str(block) for block in FOUND}


def test_the_tests_install_what_blocks_need() -> None:
    group = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    installed = {re.split(r"[\[>=]", each)[0] for each in group["dependency-groups"]["tests"]}
    assert {block.notes.needs for block in BLOCKS if block.notes.needs} <= installed


@pytest.mark.parametrize("page", PAGES)
def test_every_fence_names_a_language_that_is_known(page: str) -> None:
    fences = re.findall(r"^\s*```", PAGES[page], re.MULTILINE)
    blocks = FENCE.findall(PAGES[page])
    assert len(fences) == 2 * len(blocks)
    assert {language for language, _ in blocks} <= LANGUAGES | DIRECTIVES


@pytest.mark.parametrize("block", cases(PROGRAMS))
def test_a_program_separates_a_song_and_saves_its_stems(
    block: Block, vocalsep_emulator: Emulator, folder: Path
) -> None:
    command = [sys.executable, "-c", block.code, "song.mp3"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    saved = [folder / line for line in run.stdout.splitlines()]
    assert {path.stem for path in saved} == {"vocal", "instrumental"}
    assert all(path.is_file() for path in saved)


@pytest.mark.parametrize("block", cases(TEST_FILES))
def test_a_test_file_passes(block: Block, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(f"{block.notes.before}\n\n{block.code}\n\n{block.notes.after}")
    run = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    # A test with parameters passes more than once.
    passed = run.parseoutcomes().get("passed", 0)
    run.assert_outcomes(passed=max(passed, block.code.count("def test_")))


def names_of(page: str) -> dict[str, object]:
    """What the reader of a page has; for that of a module, its names and those of the package."""
    if not page.endswith(".py"):
        return {"__name__": "fragment"}
    module = page.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    names = vars(vocalsep_async) | vars(importlib.import_module(module))
    return names | {"__name__": "fragment"}


def run_fragment(block: Block, emulator: Emulator, task_ids: list[str]) -> None:
    async def run() -> None:
        async with emulator.client() as client:
            names = {"client": client, "task_id": task_ids[0], "task_ids": task_ids}
            await Program(block.code, str(block), block.notes).run(names_of(block.page) | names)

    asyncio.run(run())


@pytest.mark.parametrize("block", cases(FRAGMENTS))
@pytest.mark.usefixtures("folder")
def test_a_fragment_runs(block: Block, vocalsep_emulator: Emulator) -> None:
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


@pytest.mark.skipif(not is_installed("opentelemetry-sdk"), reason="the SDK is not installed")
def test_the_tree_of_spans_is_the_one_that_the_page_shows(
    vocalsep_emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    page = "docs/how-to/tracing.md"
    (block,) = (each for each in FRAGMENTS if str(each) == f"{page}-2")
    _, _, below = PAGES[page].partition("It prints the tree of spans:\n\n```text\n")
    shown = below.partition("```")[0].splitlines()
    run_fragment(block, vocalsep_emulator, [vocalsep_emulator.add_task(duration=0.1)])
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    # How many polls there are depends on the machine.
    assert set(printed) <= set(shown)
    assert [*printed[:2], printed[-1]] == [*shown[:2], shown[-1]]


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


@pytest.mark.parametrize("page", PAGES)
def test_every_install_command_works_in_a_clone(page: str) -> None:
    # Nothing is released. The README says how names in messages are meant.
    commands = re.findall(r"pip install [^`\n]*", PAGES[page])
    assert not [command for command in commands if "vocalsep-async" in command]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_first_program_of_the_readme_is_short() -> None:
    assert len(PROGRAMS[0].code.splitlines()) <= 15


def test_ci_runs_the_test_command_of_the_readme() -> None:
    command = next(line for line in README.splitlines() if "nox -s tests" in line)
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
