"""A web service that separates songs, and is called when they are done; with FastAPI.

    export VOCALSEP_API_KEY=... PUBLIC_URL=https://example.com
    export CALLBACK_SECRET=...  # of python -c 'import secrets; print(secrets.token_urlsafe(32))'
    uvicorn --app-dir examples fastapi_service:app --no-access-log
    curl --json '{"audio_url": "https://example.com/song.mp3"}' http://127.0.0.1:8000/separate

The access log would show the addresses of callbacks, which are secret. Everyone who can reach this
service spends your credits: put it behind your own authentication, but for /callbacks.
"""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from vocalsep_async import (
    InvalidArgumentError,
    TaskRef,
    TaskTimeoutError,
    VocalSepClient,
    VocalSepError,
)
from vocalsep_async.contrib.asgi import CallbackReceiver
from vocalsep_async.webhooks import CallbackUrl

LOG = logging.getLogger(__name__)
TIMEOUT = 300.0  # seconds, longer than most separations; proxies in front have to allow it

client = VocalSepClient()
address = CallbackUrl(f"{os.environ['PUBLIC_URL']}/callbacks", os.environ["CALLBACK_SECRET"])
receiver = CallbackReceiver(client, address)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Open the client when the service starts, and close it when the service ends."""
    async with client:
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/callbacks", receiver)


class Song(BaseModel):
    """Either a link, or a track of a music task."""

    audio_url: str | None = None
    source_task_id: str | None = None
    audio_id: str | None = None


@app.post("/separate")
async def separate(song: Song) -> JSONResponse:
    """Create a task, which is billed, and answer with its stems."""
    ref = await client.create_task(callback_url=receiver.url(), **song.model_dump())
    return await answer(ref)


@app.get("/stems/{task_id}")
async def stems(task_id: str) -> JSONResponse:
    """Go on waiting for a task that a request did not see the end of."""
    return await answer(TaskRef(task_id, expects_callback=True))


async def answer(ref: TaskRef) -> JSONResponse:
    """Answer with the stems of a task, or with 202 if it has not ended in time."""
    try:
        task = await client.wait_for_task(ref, timeout=TIMEOUT)
    except TaskTimeoutError:
        return JSONResponse({"task_id": ref.task_id, "status": "PENDING"}, status_code=202)
    found = {"task_id": ref.task_id, "status": task.status, "stems": dict(task.stems)}
    return JSONResponse(found, status_code=200 if task.succeeded else 502)


@app.get("/stats")
async def stats() -> dict[str, Any]:
    """Show what has become of requests and callbacks."""
    return {"requests": client.stats.requests, "callbacks": attrs.asdict(receiver.stats)}


@app.exception_handler(VocalSepError)
async def on_error(_request: Request, error: VocalSepError) -> JSONResponse:
    """Answer in words that are meant for callers; those of the error go to the log."""
    status, text = 502, "the separation failed, try again later"
    if isinstance(error, InvalidArgumentError):
        status, text = 400, "the song, or the id of the task, is not valid"
    LOG.warning("answered %d: %s", status, error)
    return JSONResponse({"error": text}, status_code=status)
