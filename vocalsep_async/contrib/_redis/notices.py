"""What a process says about the store, as log records."""

from __future__ import annotations

import logging

from vocalsep_async.contrib._redis.budget import SharedBudget
from vocalsep_async.contrib._redis.loss import Mode
from vocalsep_async.contrib._redis.protocol import Reply
from vocalsep_async.policies import STORE_NOTICE, STORE_PATIENCE, RateLimit

_logger = logging.getLogger("vocalsep_async.limits")


class Notices:
    """Says once what has changed.

    Args:
        account: name of the account.

    Attributes:
        problem: why the last call had no answer.
    """

    def __init__(self, account: str) -> None:
        self._account = account
        self._store = f"the store of account {account}"
        self._mode = Mode.SHARED
        self._has_noticed = self._has_seen_damage = False
        self._limit: RateLimit | None = None
        self.problem = ""

    def refusal(self, problem: str) -> str:
        """The message for a store that cannot be used."""
        return (
            f"{self._store} refuses the rate limiter: {problem}. Its user needs EVAL, EVALSHA and, "
            "within scripts, TIME and the commands of hashes, sorted sets and keys"
        )

    def learning_refused(self, problem: str) -> None:
        """Say that the store neither takes nor gives durations."""
        _logger.warning(
            "%s does not share what was learned about durations: %s. This process learns alone",
            *(self._store, problem),
        )

    def learned_damage(self) -> None:
        """Say once that something else was where the durations are."""
        if not self._has_seen_damage:
            _logger.warning(
                "%s held something else than counts in the key of the durations; replaced by "
                "what this process has learned",
                self._store,
            )
        self._has_seen_damage = True

    def note(self, budget: SharedBudget, now: float) -> None:
        """Say what the absence of the store means, at each change."""
        mode, since = budget.mode(now), budget.loss.since
        if mode is not self._mode:
            before, self._mode = self._mode, mode
            self._on_mode(before, budget)
        is_unknown = budget.loss.known is None and since is not None
        if is_unknown and since is not None and now - since >= STORE_NOTICE:
            if not self._has_noticed:
                _logger.warning(
                    "%s has not answered for %.0f s (%s). Nothing is sent until it does: how many "
                    "processes share the budget is not known",
                    *(self._store, now - since, self.problem),
                )
            self._has_noticed = True

    def _on_mode(self, before: Mode, budget: SharedBudget) -> None:
        known, share = budget.loss.known, budget.loss.share
        if known is None or share is None:
            return
        if self._mode is Mode.OWN_SHARE:
            _logger.warning(
                "%s is still away. This process continues with its share, %d of %d requests per "
                "%g s, until the store has been away for %.0f s",
                *(self._store, share.max_requests, known.limit.max_requests),
                *(share.period, STORE_PATIENCE),
            )
        elif self._mode is Mode.WAITING and before is Mode.OWN_SHARE:
            _logger.warning("%s is still away. Nothing is sent until it is back", self._store)
        elif self._mode is Mode.WAITING:
            _logger.warning("%s does not answer (%s). Nothing is sent", self._store, self.problem)

    def on_reply(self, budget: SharedBudget, reply: Reply, now: float) -> None:
        """Say what an answer shows, before *budget* knows it."""
        known, since = budget.loss.known, budget.loss.since
        if since is not None:
            _logger.warning("%s is back after %.1f s", self._store, now - since)
        elif known is not None and reply.epoch != known.epoch:
            _logger.warning("%s has lost its data; all processes pause", self._store)
        if reply.limit not in (budget.limit, self._limit):
            _logger.warning(
                "another process states a different limit for the account %s: the strictest one "
                "holds, %d requests per %g s",
                *(self._account, reply.limit.max_requests, reply.limit.period),
            )
        self._limit = reply.limit
        self._has_noticed = False
