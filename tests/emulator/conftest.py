"""What the tests of the emulator share."""

import json
from typing import Any

import aiohttp
import attrs
import pytest

GENERATE = "/api/v1/vocal-removal/generate"
RECORD = "/api/v1/vocal-removal/record-info"


@attrs.frozen
class Reply:
    http_status: int
    text: str
    headers: Any

    @property
    def body(self):
        return json.loads(self.text)

    @property
    def code(self):
        return self.body["code"]

    @property
    def data(self):
        return self.body["data"]


@attrs.frozen
class Caller:
    """Asks an emulator as a program would."""

    session: aiohttp.ClientSession

    async def ask(self, emulator, method, path, **options) -> Reply:
        async with self.session.request(method, emulator.url + path, **options) as answer:
            return Reply(answer.status, await answer.text(), answer.headers)

    async def record(self, emulator, task_id) -> Reply:
        return await self.ask(emulator, "GET", RECORD, params={"taskId": task_id})

    async def credits(self, emulator) -> Reply:
        name = {"sunoapi": "generate", "kie": "chat"}[emulator.dialect]
        return await self.ask(emulator, "GET", f"/api/v1/{name}/credit")

    async def create(self, emulator, **body) -> Reply:
        whole = {"audioUrl": "https://example.com/a.mp3", "callBackUrl": "https://example.com/"}
        return await self.ask(emulator, "POST", GENERATE, json=whole | body)


@pytest.fixture
async def caller(anyio_backend):
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer some-key"}) as session:
        yield Caller(session)
