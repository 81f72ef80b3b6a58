"""The polling engine of a client: one loop sends the polls of all waits and batches.

`poller` holds the subscriptions and the loop, `target` is one task that is polled, `waiter` waits
for one task, `learner` learns durations from records, `stateless` polls once for callers that
keep no client running, `direct` sends polls outside the loop, and `poll_events` reports polls.
"""
