"""The upload host: it keeps what is sent to it for a while, under links without a signature.

The links are served by the emulator itself, so that a test can fetch what a program has uploaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

import anyio
from aiohttp import BodyPartReader, web
from attrs import frozen

from vocalsep_async.emulator.faults import UploadFault
from vocalsep_async.emulator.responses import ApiResponse
from vocalsep_async.emulator.tasks import Clock

PATH = "/api/file-stream-upload"
"""The path of the request that uploads a file."""
LARGEST_FILE = 100 << 20
"""Bytes; the limit of the live hosts is not documented."""
MOST_BYTES = 256 << 20
"""Bytes of all files together."""
_TYPE = "application/octet-stream"
_SLOW_PIECE = 1 << 16
_SLOW_SECONDS = 0.1


@frozen
class Upload:
    """One file.

    Attributes:
        data: its bytes.
        media_type: as it was sent.
        expires_at: when its link dies, in monotonic seconds.
    """

    data: bytes
    media_type: str
    expires_at: float


class UploadStore:
    """All files, by the path of their links.

    Args:
        clock: for the expiry.
        lifetime: seconds for which a link is valid.
    """

    def __init__(self, clock: Clock, lifetime: float) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._files: dict[str, Upload] = {}

    def add(self, folder: str, name: str, data: bytes, media_type: str) -> str | None:
        """Keep a file, in place of one of that name.

        Returns:
            The path of its link; None if there is no room.
        """
        path = f"/uploads/{quote(folder, safe='')}/{quote(name, safe='')}"
        # A copy, as a test may delete all files in another thread.
        others = {**self._files}
        others.pop(path, None)
        kept = sum(len(file.data) for file in others.values())
        if kept + len(data) > MOST_BYTES:
            return None
        self._files[path] = Upload(data, media_type, self._clock.now() + self._lifetime)
        return path

    def find(self, path: str) -> Upload | None:
        """The file of a link; None if there is none, or if it has expired."""
        found = self._files.get(path)
        return found if found is not None and self._clock.now() < found.expires_at else None

    def is_dead(self, url: str, base_url: str) -> bool:
        """Whether *url* is a link of this host, at *base_url*, that leads to no file any more."""
        path = url.removeprefix(base_url)
        return path != url and path.startswith("/uploads/") and self.find(path) is None

    def revoke_all(self) -> None:
        """Delete all files."""
        self._files.clear()


class _RefusedError(Exception):
    """The upload is not accepted; `response` says why."""

    def __init__(self, response: ApiResponse) -> None:
        super().__init__()
        self.response = response


@frozen
class _Form:
    """What an upload sends."""

    folder: str
    name: str
    data: bytes
    media_type: str


class UploadHost:
    """Answers the requests of the upload host.

    Args:
        store: keeps the files.
        clock: for the time in the answers.
        closing: set when the emulator closes.
    """

    def __init__(self, store: UploadStore, clock: Clock, closing: anyio.Event) -> None:
        self._store = store
        self._clock = clock
        self._closing = closing

    async def respond(
        self, request: web.Request, base_url: str, fault: UploadFault | None
    ) -> ApiResponse:
        """Return the response to an upload with a *fault*, or without one.

        Args:
            request: the upload.
            base_url: what its link begins with.
            fault: none that ends the connection.
        """
        if fault in _BEFORE:
            return _BEFORE[fault]
        try:
            form = await self._form(request, _SLOW_SECONDS if fault is UploadFault.SLOW else 0.0)
        except _RefusedError as error:
            return error.response
        return _AFTER[fault] if fault in _AFTER else self._stored(form, base_url)

    async def _form(self, request: web.Request, pause: float) -> _Form:
        fields: dict[str, str] = {}
        file, media_type, own_name = None, _TYPE, ""
        try:
            parts = await request.multipart()
            while isinstance(part := await parts.next(), BodyPartReader):
                if part.name == "file":
                    media_type = part.headers.get("Content-Type", _TYPE)
                    own_name, file = part.filename or "", await self._content(part, pause)
                else:
                    fields[part.name or ""] = await part.text()
        except (AssertionError, ValueError):
            raise _RefusedError(_refusal(400, "The body is no multipart form.")) from None
        name, folder = fields.get("fileName") or own_name, fields.get("uploadPath", "")
        if file is None or not name or not folder or folder.startswith("/"):
            words = "file and uploadPath are required, and uploadPath begins without a slash."
            raise _RefusedError(_refusal(400, words))
        return _Form(folder, name, file, media_type)

    async def _content(self, part: BodyPartReader, pause: float) -> bytes:
        data = bytearray()
        while piece := await part.read_chunk(_SLOW_PIECE):
            data += piece
            if len(data) > LARGEST_FILE:
                raise _RefusedError(_TOO_LARGE)
            if pause:
                with anyio.move_on_after(pause):
                    await self._closing.wait()
        return bytes(data)

    def _stored(self, form: _Form, base_url: str) -> ApiResponse:
        path = self._store.add(form.folder, form.name, form.data, form.media_type)
        if path is None:
            return _refusal(500, "There is no room for the file.")
        at = datetime.fromtimestamp(self._clock.wall(self._clock.now()), UTC)
        data = {
            "fileName": form.name,
            "filePath": f"{form.folder}/{form.name}",
            "downloadUrl": base_url + path,
            "fileSize": len(form.data),
            "mimeType": form.media_type,
            "uploadedAt": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z",
        }
        message = "File uploaded successfully"
        return ApiResponse({"success": True, "code": 200, "msg": message, "data": data})

    def serve(self, request: web.Request) -> web.Response:
        """Return the file of a link.

        Raises:
            web.HTTPNotFound: there is none, or it has expired.
        """
        file = self._store.find(request.rel_url.raw_path)
        if file is None:
            raise web.HTTPNotFound(text="There is no such file, or it was deleted.")
        return web.Response(body=file.data, headers={"Content-Type": file.media_type})


def _refusal(code: int, message: str, *, http_status: int = 200) -> ApiResponse:
    body = {"success": False, "code": code, "msg": message, "data": None}
    return ApiResponse(body, http_status=http_status)


UNAUTHORIZED = _refusal(401, "Unauthorized: the API key was not accepted.", http_status=401)
"""The response to a missing or wrong key."""
_TOO_LARGE = _refusal(413, "The file is too large.", http_status=413)
_BEFORE: Mapping[UploadFault | None, ApiResponse] = {
    UploadFault.UNAUTHORIZED: UNAUTHORIZED,
    UploadFault.TOO_LARGE: _TOO_LARGE,
}
"""Sent before the file was read."""
_AFTER: Mapping[UploadFault | None, ApiResponse] = {
    UploadFault.REFUSED: _refusal(200, "The file could not be stored."),
    UploadFault.SERVER_ERROR: _refusal(500, "The file could not be stored.", http_status=500),
}
"""Sent after it was read, and in place of keeping it."""
