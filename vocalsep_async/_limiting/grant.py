"""Permission for one request."""


class Grant:
    """Permission for one request, to be reported back to the rate limiter exactly once.

    Attributes:
        started: when it was granted.
        gap: seconds by which it delays the starts after it.
    """

    __slots__ = ("gap", "started")

    def __init__(self, started: float, gap: float = 0.0) -> None:
        self.started = started
        self.gap = gap
