"""The one loop that asks, shared by every wait of a client.

`limiter` lets requests start at the budget's pace, `asking` makes one request through it, `watching`
keeps what is known of one task that is followed, `waiting` is one who follows it, `learning` notes
what records teach, `loop` is the loop over all of them, `poller` knows who follows whom; `once`
looks for those who must not wait.
"""
