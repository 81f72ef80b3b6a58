"""The cells of the page about notebooks run in a kernel, also after an interrupt."""

from __future__ import annotations

import ast
import asyncio
import math
import re
from collections.abc import Iterator
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, blocks_of

from vocalsep_async.emulator import Emulator

PAGE = "docs/how-to/jupyter.md"
CELLS = blocks_of(PAGE)
SECONDS = 300


@pytest.fixture(autouse=True)
def _account(vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VOCALSEP_API_KEY", "a-key")
    monkeypatch.setenv("VOCALSEP_BASE_URL", vocalsep_emulator.url)
    monkeypatch.setenv("VOCALSEP_UPLOAD_URL", vocalsep_emulator.url)
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("song.mp3").write_bytes(vocalsep_emulator.original_wav())


@pytest.fixture
def vocalsep_emulator_options() -> dict[str, object]:
    return {"speed": 1000.0}


def names(emulator: Emulator) -> dict[str, Any]:
    """What the cells of the page expect of earlier ones."""
    task_ids = [emulator.add_task(duration=0) for _ in range(2)]
    return {"task_id": task_ids[0], "task_ids": task_ids}


def test_the_cells_run_one_after_the_other_in_a_running_loop(vocalsep_emulator: Emulator) -> None:
    namespace = names(vocalsep_emulator)

    async def notebook() -> None:
        for cell in CELLS:
            code = compile(cell, PAGE, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, namespace)
            if isawaitable(result):
                await result
        await namespace["client"].aclose()

    asyncio.run(notebook())
    assert namespace["outcome"].succeeded
    assert namespace["task"].succeeded


class Kernel:
    """A kernel, as a notebook server starts it."""

    def __init__(self, manager: Any, client: Any) -> None:
        self._manager = manager
        self._client = client

    def run(self, cell: str, *, interrupt_at: str | None = None) -> list[str]:
        """Run a cell, and return what it shows; interrupted once it has printed *interrupt_at*."""
        request = self._client.execute(cell)
        shown: list[str] = []
        while True:
            message = self._client.get_iopub_msg(timeout=SECONDS)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                shown.append(content["text"])
                if interrupt_at is not None and interrupt_at in content["text"]:
                    self._manager.interrupt_kernel()
            elif kind == "execute_result":
                shown.append(content["data"]["text/plain"])
            elif kind == "error":
                shown.append(f"{content['ename']}: {content['evalue']}")
            elif kind == "status" and content["execution_state"] == "idle":
                return shown


@pytest.fixture
def kernel(
    vocalsep_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Kernel]:
    pytest.importorskip("ipykernel", reason="no kernel is installed")
    # Its history and its connections would be files in the user's home.
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    jupyter = pytest.importorskip("jupyter_client.manager", reason="no kernel is installed")
    manager, client = jupyter.start_new_kernel(startup_timeout=SECONDS, kernel_name="python3")
    try:
        kernel = Kernel(manager, client)
        for name, value in names(vocalsep_emulator).items():
            assert kernel.run(f"{name} = {value!r}") == []
        yield kernel
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def test_a_kernel_runs_the_cells(kernel: Kernel) -> None:
    credits_left, outcome, batch, waiting, waited, again = map(kernel.run, CELLS)
    assert credits_left == ["1000.0"]
    assert "stems/song/vocal.wav" in outcome[0]
    assert "".join(batch).count("done") == 2
    assert waiting == []
    assert waited == again == ["SUCCESS\n"]


def test_the_cell_after_an_interrupted_one_works(
    kernel: Kernel, vocalsep_emulator: Emulator
) -> None:
    kernel.run(CELLS[0])
    running = vocalsep_emulator.add_task("running", duration=math.inf)
    shown = kernel.run(
        f"""
def show(task):
    print(task.status, flush=True)

await client.wait_for_task({running!r}, on_update=show)
""",
        interrupt_at="PENDING",
    )
    assert shown[0].startswith("PENDING\n")
    assert shown[-1].startswith(("CancelledError", "KeyboardInterrupt"))
    vocalsep_emulator.finish(running)
    assert kernel.run(f"(await client.wait_for_task({running!r})).succeeded") == ["True"]
    assert kernel.run(CELLS[-1]) == ["SUCCESS\n"]


def test_a_client_goes_on_where_the_loop_of_the_kernel_was_replaced(kernel: Kernel) -> None:
    shown = kernel.run(f"""
{CELLS[0].rpartition("await")[0]}
import asyncio, threading

earlier = threading.Thread(target=lambda: asyncio.run(client.get_credits()))
earlier.start()
earlier.join()
(await client.wait_for_task(task_id)).succeeded
""")
    assert shown == ["True"]


def test_the_program_of_the_readme_says_in_a_notebook_what_the_page_explains(
    kernel: Kernel,
) -> None:
    program = blocks_of("README.md")[0]
    shown = kernel.run(program)
    message = "asyncio.run() cannot be called from a running event loop"
    assert shown[-1] == f"RuntimeError: {message}"
    assert message in (ROOT / PAGE).read_text(encoding="utf-8")


def test_no_page_recommends_to_patch_the_loop() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    patches = re.compile("nest.?asyncio", re.IGNORECASE)
    assert not [page.name for page in pages if patches.search(page.read_text(encoding="utf-8"))]
