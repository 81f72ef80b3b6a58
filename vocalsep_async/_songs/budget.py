"""What a run of songs may cost, and whether it may create more tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from vocalsep_async.errors import ConfigurationError, NotBegunError, VocalSepError
from vocalsep_async.models import SeparationType
from vocalsep_async.providers import Price


class Budget:
    """Lets creations begin until the credits of a run are spent, or the account's have ended.

    Args:
        prices: what the creation of each type costs.
        most: credits that may be spent; None for no limit.
    """

    def __init__(self, prices: Mapping[SeparationType, Price], most: float | None = None) -> None:
        self._prices = prices
        self._most = most
        self._spent = 0.0
        self._reserved = 0.0
        self._has_unknown = False
        self._end: NotBegunError | None = None
        self._changed = asyncio.Event()

    @property
    def spent(self) -> float | None:
        """Credits for the tasks that were or may have been created; None if a price is unknown."""
        return None if self._has_unknown else self._spent

    @property
    def has_ended(self) -> bool:
        """Whether no more tasks are created."""
        return self._end is not None

    def price(self, kind: SeparationType) -> float | None:
        """Credits for one task of *kind*; None if that is not known.

        Raises:
            ConfigurationError: it is not known, and there is a limit.
        """
        price = self._prices.get(kind)
        if price is None and self._most is not None:
            raise ConfigurationError(
                f"the price of {kind} at this provider is not known, so max_credits cannot be "
                "kept: leave it out, or give the provider a price"
            )
        return None if price is None else price.credits

    async def reserve(self, kind: SeparationType) -> None:
        """Set aside what one task costs, once it is certain whether there is enough.

        Raises:
            NotBegunError: there is not enough, or no more tasks are created.
        """
        price = self.price(kind) or 0.0
        while self._most is not None and self._spent + self._reserved + price > self._most:
            self.check()
            if self._spent + price > self._most:
                self._end_with(
                    f"max_credits is {self._most:g}, {self._spent:g} are spent, and the next "
                    f"song costs {price:g}"
                )
            else:
                # A creation under way may still fail, and leave what is set aside for it.
                self._changed.clear()
                await self._changed.wait()
        self.check()
        self._reserved += price

    def settle(self, kind: SeparationType, *, is_spent: bool) -> None:
        """A creation has ended, and was or may have been carried out, or was not."""
        price = self.price(kind)
        self._reserved -= price or 0.0
        if is_spent:
            self._spent += price or 0.0
            self._has_unknown |= price is None
        self._changed.set()

    def check(self) -> None:
        """Check that tasks may still be created.

        Raises:
            NotBegunError: they may not.
        """
        if self._end is not None:
            raise NotBegunError(*self._end.args, cause=self._end.cause)

    def end(self, cause: BaseException) -> None:
        """Create no more tasks, because of *cause*."""
        ours = cause if isinstance(cause, VocalSepError) else None
        self._end_with(f"an error ended the creations: {cause}", ours)

    def leave(self) -> None:
        """Create no more tasks, because the run was left."""
        self._end_with("the run was left")

    def _end_with(self, reason: str, cause: VocalSepError | None = None) -> None:
        if self._end is None:
            self._end = NotBegunError(
                f"not begun, and not billed: {reason.rstrip('.')}. A later run with the same "
                "journal goes on here",
                cause=cause,
            )
        self._changed.set()
