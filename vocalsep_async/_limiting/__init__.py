"""The arithmetic of `RateLimiter`: pure state machines that take ``now``.

Each module is one rule, and `state` combines them: a request may start when all of them allow it.

* `window`, the hard rule: at most ``max_requests`` in any ``period``.
* `spacing`, the soft rule: a small burst, then even gaps, at the *allowed rate*.
* `allowed_rate`: another client may use part of the account's limit, so throttling lowers the
  rate, and answers raise it again.
* `pause`: a throttled request, maintenance or an outage pauses the whole client; then one probe at
  a time is sent until a probe is answered.

`line` says which of several clients gets the next slot.
"""

from vocalsep_async._limiting.grant import Grant
from vocalsep_async._limiting.line import Line, Place
from vocalsep_async._limiting.state import RateLimitState

__all__ = ["Grant", "Line", "Place", "RateLimitState"]
