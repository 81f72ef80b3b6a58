"""What `vocalsep_async.contrib.redis` is made of.

The rules of the shared budget are one script, ``limiter.lua``, which the store runs; `protocol` is
its language, `reports` and `loss` are what a process knows and has to tell, both without I/O, and
`store` is the connection. `learning` is the same for durations, which ``learned.lua`` counts.
"""
