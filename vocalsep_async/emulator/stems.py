"""The stems as downloads: signed links that expire, and the WAV files behind them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from anyio import to_thread
from attrs import frozen

from vocalsep_async.emulator import audio
from vocalsep_async.emulator.tasks import Clock


@frozen
class _Issued:
    """A link, with what decides whether it is still valid."""

    link: str
    secret: bytes
    expires_at: float


class LinkSigner:
    """Issues links to files and checks them.

    A file keeps its link until that expires or is revoked.

    Args:
        clock: for the expiry.
        lifetime: seconds for which a link is valid from the moment it is issued.
    """

    def __init__(self, clock: Clock, lifetime: float) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._secret = secrets.token_bytes(32)
        self._issued: dict[tuple[str, str], _Issued] = {}

    def issue(self, folder: str, name: str) -> str:
        """Return the path and query of the link to the file *name* in that folder."""
        secret, now = self._secret, self._clock.wall(self._clock.now())
        kept = self._issued.get((folder, name))
        # Not emptied by `revoke_all`, which may run in another thread in between.
        if kept is not None and kept.secret is secret and now < kept.expires_at:
            return kept.link
        expires = f"{now + self._lifetime:.3f}"
        query = f"expires={expires}&signature={_signature(secret, folder, name, expires)}"
        issued = _Issued(f"/files/{folder}/{name}?{query}", secret, float(expires))
        self._issued[folder, name] = issued
        return issued.link

    def is_valid(self, folder: str, name: str, expires: str, signature: str) -> bool:
        """Return whether the parts belong to a link that was issued here and has not expired."""
        # First, because only a genuine link is sure to hold a number as its expiry.
        genuine = _signature(self._secret, folder, name, expires).encode()
        if not hmac.compare_digest(genuine, signature.encode("utf-8", "surrogatepass")):
            return False
        return self._clock.wall(self._clock.now()) < float(expires)

    def revoke_all(self) -> None:
        """Invalidate every link issued so far."""
        self._secret = secrets.token_bytes(32)


def _signature(secret: bytes, folder: str, name: str, expires: str) -> str:
    message = f"{folder}/{name}?{expires}".encode("utf-8", "surrogatepass")
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


class StemFiles:
    """WAV files of the mixes in a temporary folder; each is written at its first download."""

    def __init__(self) -> None:
        self._folder: TemporaryDirectory[str] | None = None
        self._lock = anyio.Lock()

    async def path(self, mix: str) -> Path:
        """Return the path of the file of *mix*, one of `audio.MIXES`."""
        # One at a time, so that no download reads a file that is still being written.
        async with self._lock:
            return await to_thread.run_sync(self._write, mix)

    async def aclose(self) -> None:
        """Remove the folder, if there is one."""
        # Behind the lock, as a file may still be written in a thread whose request was aborted.
        async with self._lock:
            folder, self._folder = self._folder, None
        if folder is not None:
            await to_thread.run_sync(folder.cleanup)

    def _write(self, mix: str) -> Path:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="vocalsep-emulator-")
        path = Path(self._folder.name) / f"{mix}.wav"
        if not path.exists():
            path.write_bytes(audio.wav(mix))
        return path


class StemResponse(web.FileResponse):
    """A WAV file, whole or a byte range of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, headers={"Content-Type": "audio/wav"})

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the range; the whole file if ``If-Range`` holds the tag of another file."""
        # aiohttp understands only dates in If-Range and ignores an entity tag, so it would send
        # a range of this file to a client that holds the beginning of another one.
        condition = request.headers.get("If-Range", "")
        if condition.endswith('"') and condition != await to_thread.run_sync(self._entity_tag):
            headers = request.headers.copy()
            headers.popall("Range", None)
            request = request.clone(headers=headers)
        return await super().prepare(request)

    def _entity_tag(self) -> str:
        # As aiohttp computes it for the header ETag.
        status = self._path.stat()
        return f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
