"""What a client tells of itself."""

from __future__ import annotations

from attrs import frozen


@frozen
class ClientStats:
    """What a client has done and may do now.

    Attributes:
        requests: requests sent, each counted once on the wire.
        refused: how many of them the API refused as too many (405/430 and their like).
        in_flight: requests sent and not answered yet.
        rate: requests per second that the pacer allows now; infinity while no limit is known.
        paused_for: seconds for which nobody asks, after a refusal or in maintenance; 0 if not.
    """

    requests: int
    throttled: int
    in_flight: int
    rate: float
    paused_for: float
