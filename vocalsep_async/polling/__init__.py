"""The one loop that asks, shared by every wait of a client.

`gate` lets requests start at the budget's pace, `asking` makes one request through it, `watching`
keeps what is known of one task that somebody waits for, `poller` is the loop over all of them.
"""

from vocalsep_async.polling.asking import Asker
from vocalsep_async.polling.gate import Gate
from vocalsep_async.polling.poller import Poller
from vocalsep_async.polling.watching import Follower

__all__ = ["Asker", "Follower", "Gate", "Poller"]
