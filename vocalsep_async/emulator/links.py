"""Links to files: signed, and good for a while."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from vocalsep_async.emulator.tasks import Clock


class LinkSigner:
    """Gives links and tells which ones are still good.

    Args:
        clock: for the expiry.
        lifetime: seconds that a link holds from the moment it is given.
    """

    def __init__(self, clock: Clock, lifetime: float) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._secret = secrets.token_bytes(32)

    def give(self, folder: str, stem: str) -> str:
        """Return path and query of a fresh link to *stem* of the task with that folder."""
        expires = f"{self._clock.wall(self._clock.now()) + self._lifetime:.3f}"
        signature = self._sign(folder, stem, expires)
        return f"/files/{folder}/{stem}.wav?expires={expires}&signature={signature}"

    def holds(self, folder: str, stem: str, expires: str, signature: str) -> bool:
        """Return whether the parts are those of a link that was given and has not expired."""
        genuine = self._sign(folder, stem, expires).encode()
        if not hmac.compare_digest(genuine, signature.encode("utf-8", "surrogatepass")):
            return False
        return self._clock.wall(self._clock.now()) < float(expires)

    def expire(self) -> None:
        """End every link given so far."""
        self._secret = secrets.token_bytes(32)

    def _sign(self, folder: str, stem: str, expires: str) -> str:
        message = f"{folder}/{stem}?{expires}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()
