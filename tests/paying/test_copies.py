"""Songs that are the same under several labels: one set of stems, in every run."""

from __future__ import annotations

from pathlib import Path

import pytest
from paying.runs import scene

pytestmark = pytest.mark.anyio


async def test_songs_that_are_the_same_have_the_stems_of_the_first_one_in_every_run(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, files=3, copies=2, urls=1) as stage:
        for _ in range(4):
            outcomes = await stage.run()
            stage.assert_separated(outcomes.values())
            (folder,) = {path.parent.name for path in outcomes["copy 1"].files.values()}
            assert folder == "file 0"
        assert max(stage.host.fetched.values()) == 1
