"""A thread with an event loop of its own, in which an emulator serves a program without one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager


class ServingThread:
    """Holds an async context manager open, in an event loop and a thread of its own.

    The thread does not keep the process alive, so that a block that is never left cannot do so.

    Args:
        context: makes what is held open; called in the thread.
        name: name of the thread.
    """

    def __init__(
        self, context: Callable[[], AbstractAsyncContextManager[object]], name: str
    ) -> None:
        self._context = context
        self._is_open: Future[asyncio.AbstractEventLoop] = Future()
        self._closing = asyncio.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    def open(self) -> None:
        """Start the thread, and return once the context is entered.

        Raises:
            BaseException: what entering raised; the thread has ended then.
        """
        self._thread.start()
        try:
            self._is_open.result()
        except BaseException:
            # Also after Ctrl-C, while the start goes on in the thread.
            self._is_open.add_done_callback(lambda _: self._stop())
            self._thread.join()
            raise

    def close(self) -> None:
        """Leave the context, and return once the thread has ended.

        Raises:
            BaseException: what leaving raised.
        """
        self._stop()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _stop(self) -> None:
        if self._is_open.exception() is None:
            self._is_open.result().call_soon_threadsafe(self._closing.set)

    def _main(self) -> None:
        try:
            asyncio.run(self._hold())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that opened it
            if self._is_open.done():
                self._failure = error
            else:
                self._is_open.set_exception(error)

    async def _hold(self) -> None:
        async with self._context():
            self._is_open.set_result(asyncio.get_running_loop())
            await self._closing.wait()
