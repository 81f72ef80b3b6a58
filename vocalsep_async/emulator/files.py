"""The audio on disk: written when it is first asked for, gone when the emulator is."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from anyio import to_thread

from vocalsep_async.emulator import audio


class StemResponse(web.FileResponse):
    """A WAV file, whole or in part.

    aiohttp reads dates in ``If-Range`` and takes an entity tag for no condition at all, so a
    part of another file would be sent as one of this.

    Args:
        path: where the file is.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, headers={"Content-Type": "audio/wav"})

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send it; the whole of it if the caller has a part of something else."""
        condition = request.headers.get("If-Range", "")
        if condition.endswith('"') and condition != await to_thread.run_sync(self._tag):
            headers = request.headers.copy()
            headers.popall("Range", None)
            request = request.clone(headers=headers)
        return await super().prepare(request)

    def _tag(self) -> str:
        """Return what aiohttp will send as ``ETag``."""
        about = self._path.stat()
        return f'"{about.st_mtime_ns:x}-{about.st_size:x}"'


class SongFiles:
    """WAV files of the song in a temporary folder."""

    def __init__(self) -> None:
        self._folder: TemporaryDirectory[str] | None = None
        self._lock = anyio.Lock()

    async def path(self, mix: str) -> Path:
        """Return where the file of *mix* is, after making it if need be.

        Args:
            mix: one of `audio.MIXES`.
        """
        async with self._lock:
            return await to_thread.run_sync(self._write, mix)

    async def aclose(self) -> None:
        """Remove the folder, if there is one."""
        async with self._lock:
            if self._folder is not None:
                await to_thread.run_sync(self._folder.cleanup)
            self._folder = None

    def _write(self, mix: str) -> Path:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="vocalsep-emulator-")
        path = Path(self._folder.name) / f"{mix}.wav"
        if not path.exists():
            path.write_bytes(audio.wav(mix))
        return path
