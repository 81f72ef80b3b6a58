"""The one loop that asks, shared by every wait of a client.

`gate` lets requests start at the budget's pace, `asking` makes one request through it, `watching`
keeps what is known of one task that is followed, `waiting` is one who follows it, `learning` notes
what records teach, `driver` is the loop over all of them, `poller` knows who follows whom; `once`
looks for those who must not wait.
"""

from vocalsep_async.polling.asking import Asker
from vocalsep_async.polling.gate import Gate
from vocalsep_async.polling.once import Done, Pending
from vocalsep_async.polling.poller import Crowd, Poller
from vocalsep_async.polling.waiting import OnUpdate, Wait
from vocalsep_async.polling.watching import Follower, Watch, timed_out

__all__ = [
    "Asker",
    "Crowd",
    "Done",
    "Follower",
    "Gate",
    "OnUpdate",
    "Pending",
    "Poller",
    "Wait",
    "Watch",
    "timed_out",
]
