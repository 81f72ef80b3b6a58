"""An HTTP client without the SDK, for requests to an emulator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import aiohttp
import attrs

from vocalsep_async.emulator import Emulator

ProviderName: TypeAlias = Literal["sunoapi", "kie", "kie_jobs"]

GENERATE = "/api/v1/vocal-removal/generate"
RECORD = "/api/v1/vocal-removal/record-info"


@attrs.frozen
class Reply:
    http_status: int
    text: str
    headers: Mapping[str, str]

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> int:
        code: int = self.body["code"]
        return code

    @property
    def data(self) -> Any:
        return self.body["data"]


@attrs.frozen
class HttpClient:
    session: aiohttp.ClientSession

    async def request(self, emulator: Emulator, method: str, path: str, **options: Any) -> Reply:
        async with self.session.request(method, emulator.url + path, **options) as reply:
            return Reply(reply.status, await reply.text(), reply.headers)

    async def record_info(self, emulator: Emulator, task_id: str) -> Reply:
        return await self.request(emulator, "GET", RECORD, params={"taskId": task_id})

    async def credits(self, emulator: Emulator) -> Reply:
        name = "generate" if emulator.provider == "sunoapi" else "chat"
        return await self.request(emulator, "GET", f"/api/v1/{name}/credit")

    async def create(self, emulator: Emulator, **body: object) -> Reply:
        whole = {"audioUrl": "https://example.com/a.mp3", "callBackUrl": "https://example.com/"}
        return await self.request(emulator, "POST", GENERATE, json=whole | body)
