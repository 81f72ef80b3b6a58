"""CPU of ``import vocalsep_async``, compared with importing only its four libraries.

    python benchmarks/import_time.py [--pairs 15]

Each import runs in a fresh interpreter; the sides alternate, and the result is the median ratio of
the pairs. Both sides are compiled beforehand, as installed packages are, even if the environment
disables writing bytecode.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from statistics import median, quantiles

LIBRARIES = "import aiohttp, attrs, cattrs, anyio"
OURS = "import vocalsep_async"
TIMED = "import time; began = time.process_time(); {}; print(time.process_time() - began)"
LIMIT = 1.25


def seconds(statement: str, bytecode: str) -> float:
    """CPU of one import in a fresh interpreter that keeps its bytecode in *bytecode*."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", TIMED.format(statement)]
    return float(
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    )


def pairs_of(count: int) -> list[tuple[float, float]]:
    """Seconds of *count* alternating imports, without the first pair, which compiles."""
    with tempfile.TemporaryDirectory() as bytecode:
        both = [(seconds(OURS, bytecode), seconds(LIBRARIES, bytecode)) for _ in range(count + 1)]
    return both[1:]


def main() -> None:
    """Run the measurements and print the results."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--pairs", type=int, default=15)
    chosen = options.parse_args()
    pairs = pairs_of(chosen.pairs)
    ratios = [ours / theirs for ours, theirs in pairs]
    low, _, high = quantiles(ratios, n=4)
    ours, theirs = (median(side) * 1e3 for side in zip(*pairs, strict=True))
    print(
        f"import   ours {ours:4.0f} ms, libraries {theirs:4.0f} ms, "
        f"ratio {median(ratios):.2f} (quartiles {low:.2f} to {high:.2f}, aim at most {LIMIT})"
    )


if __name__ == "__main__":
    main()
