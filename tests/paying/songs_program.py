"""A program that separates songs with a journal, for tests that end it or make its disk fail.

    python tests/paying/songs_program.py '{"url": ..., "journal": ..., "to": ..., "songs": [...]}'

A song is its label and its source: the path of a file, a URL, or two ids. It prints what becomes of
each, as a line of JSON, and on SIGTERM leaves the run. One thread does the work on the disk, so
that the nth system call of a kind is the same one in every run.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from anyio.to_thread import current_default_thread_limiter

from vocalsep_async import Interval, RetryPolicy, Song, TaskOutcome, VocalSepClient, VocalSepError

Given = tuple[str, Any]
"""The label and the source of a song."""


def client_of(url: str, **options: Any) -> VocalSepClient:
    """A client that waits for nothing but the host."""
    given = {
        "upload_url": url,
        "rate_limit": None,
        "poll": Interval(0.001),
        "retry": RetryPolicy(attempts=3, initial=0.001, maximum=0.001),
    }
    return VocalSepClient("a-key-for-songs", base_url=url, **(given | options))


def song_of(given: Given) -> Song:
    label, source = given
    return Song(tuple(source) if isinstance(source, list) else source, label=label)


async def separated(
    client: VocalSepClient, songs: list[Given], *, journal: str, to: Any, **options: Any
) -> AsyncIterator[TaskOutcome]:
    """The outcomes of a run of many songs."""
    sources = list(map(song_of, songs))
    async with client.separate_many(sources, journal=journal, download_to=to, **options) as run:
        async for outcome in run:
            yield outcome


def stopping_file(journal: str | Path) -> Path:
    """The file that a program makes when it is told to stop."""
    return Path(f"{journal}.stopping")


def say(word: str, value: object) -> None:
    print(json.dumps([word, value]), flush=True)  # noqa: T201


def said_of(outcome: TaskOutcome) -> list[Any]:
    """Label, error of the separation, error of the download."""
    errors = (outcome.error, outcome.download_error)
    return [outcome.label, *(None if each is None else type(each).__name__ for each in errors)]


async def main(url: str, *, limit: int | None = None, **options: Any) -> None:
    current_default_thread_limiter().total_tokens = 1
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    this = asyncio.current_task()
    assert this is not None

    def stop() -> None:
        stopping_file(options["journal"]).touch()
        this.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    try:
        async with client_of(url) as client:
            async for outcome in separated(client, **options):
                say("outcome", said_of(outcome))
    except asyncio.CancelledError:
        say("stopped", None)
    except VocalSepError as error:
        say("error", str(error))


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
