"""A program that saves the stems of a task, for tests that kill it or make its disk fail.

    python tests/downloads/saving_program.py '{"url": ..., "directory": ..., "limit": 100000}'

One thread does all work on the disk, so that the nth system call of a kind is the same one in every
run. It prints the outcome of each stem, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from typing import Any

from anyio.to_thread import current_default_thread_limiter

from vocalsep_async import DownloadError, RetryPolicy, VocalSepClient

TASK_ID = "task-1"


async def main(url: str, directory: str, limit: int | None = None) -> None:
    current_default_thread_limiter().total_tokens = 1
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    retry = RetryPolicy(attempts=3, initial=0.001, maximum=0.001)
    async with VocalSepClient("a-key", base_url=url, rate_limit=None, retry=retry) as client:
        errors: dict[str, Any] = {}
        try:
            report = await client.download_stems(TASK_ID, directory, max_concurrency=1)
        except DownloadError as error:
            if error.report is None:
                raise
            report = error.report
            errors = {each.stem: [str(each), each.path] for each in report.errors}
    saved = {file.stem: file.was_fetched for file in report.files}
    json.dump({"files": saved, "errors": errors}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
