"""Follow the tasks whose ids are given, and print the stems of each as soon as it is known.

VOCALSEP_API_KEY=... python examples/script.py ID [ID ...]
"""

import asyncio
import sys

from vocalsep_async import TaskOutcome, VocalSepClient, VocalSepError


async def main(task_ids: list[str]) -> int:
    """Print one line for each task; return 1 if any did not succeed."""
    all_ok = True
    async with (
        VocalSepClient() as client,
        client.track(task_ids, timeout=3600) as batch,
    ):
        async for outcome in batch:
            print(f"{outcome.task_id}: {described(outcome)}")
            all_ok = all_ok and outcome.succeeded
    return 0 if all_ok else 1


def described(outcome: TaskOutcome) -> str:
    """The stems, or why there are none."""
    try:
        return ", ".join(name for name, _ in outcome.result().stems)
    except VocalSepError as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
