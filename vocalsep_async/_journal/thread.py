"""A thread of one's own."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], object]


class Thread:
    """A thread that does what it is given, one after the other.

    An executor would make a future of each piece of work; that took as long as the work. It ends
    when it is closed or when nobody holds it any more, and holds up no program that ends.

    Args:
        name: what debuggers show.
    """

    def __init__(self, name: str) -> None:
        queue: SimpleQueue[Work | None] = SimpleQueue()
        self._put = queue.put
        self._finish = weakref.finalize(self, queue.put, None)
        threading.Thread(target=_work_off, args=(queue,), name=name, daemon=True).start()

    def do(self, work: Work) -> None:
        """Have *work* done after all that was given before; it must not raise."""
        self._put(work)

    def close(self) -> None:
        """End when all is done that was given; may be called again."""
        self._finish()


def _work_off(queue: SimpleQueue[Work | None]) -> None:
    while (work := queue.get()) is not None:
        work()
        del work  # it may hold the last reference to what ends this thread
