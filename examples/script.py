"""Wait for the tasks whose ids are given, and print their stems as they stand at the end.

VOCALSEP_API_KEY=... python examples/script.py ID [ID ...]
"""

import asyncio
import sys

from vocalsep_async import VocalSepClient, VocalSepError


async def main(task_ids: list[str]) -> int:
    """Print one line for each task; return 1 if any did not succeed."""
    async with VocalSepClient.from_env() as client:
        outcomes = await client.wait_for_tasks(task_ids, timeout=3600)
    for task_id, outcome in outcomes.items():
        try:
            stems = outcome.result().stems
        except VocalSepError as error:
            print(f"{task_id}: {error}")
        else:
            print(f"{task_id}: {', '.join(name for name, _ in stems)}")
    return 0 if all(outcome.ok for outcome in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
