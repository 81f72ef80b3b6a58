"""Track the tasks whose ids are given, and print how each one ended as soon as it is known.

VOCALSEP_API_KEY=... python examples/script.py ID [ID ...]
"""

import asyncio
import sys

from vocalsep_async import VocalSepClient


async def main(task_ids: list[str]) -> int:
    """Print one line for each task; return 1 if any did not succeed."""
    status = 0
    async with VocalSepClient() as client, client.track(task_ids, timeout=3600) as batch:
        async for outcome in batch:
            if outcome.succeeded:
                print(outcome.task_id, *dict(outcome.result().stems))
            else:
                print(outcome.task_id, outcome.reason)
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
