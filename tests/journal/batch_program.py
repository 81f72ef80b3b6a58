"""A program that tracks tasks with a journal, for tests that kill it or make its writes fail.

    python tests/journal/batch_program.py '{"url": ..., "journal": ..., "ids": [...]}'

It prints ``open``, then the id of each outcome as it is handed out, a line each. On SIGTERM it
leaves its batch and prints the pending ids; a `JournalError` that ends it is printed too.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys

from anyio.to_thread import current_default_thread_limiter

from vocalsep_async import JournalError, VocalSepClient
from vocalsep_async.batch import BatchRunner


def say(word: str, text: object) -> None:
    print(json.dumps([word, text]), flush=True)  # noqa: T201


async def hand_out(batch: BatchRunner) -> None:
    say("open", None)
    async for outcome in batch:
        say("outcome", outcome.task_id)


async def main(url: str, journal: str, ids: list[str], limit: int | None = None) -> None:
    # With one worker thread the nth system call of a kind is the same in every run.
    current_default_thread_limiter().total_tokens = 1
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    async with VocalSepClient("a-key", base_url=url, rate_limit=None) as client:
        batch = client.track(ids, journal=journal, max_concurrency=1)
        try:
            async with batch:
                await hand_out(batch)
        except asyncio.CancelledError:
            say("pending", batch.pending_ids())
        except JournalError as error:
            say("error", str(error))


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
