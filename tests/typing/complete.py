"""Fails if pyright does not know the type of each public name; ``python tests/typing/complete.py``.

What `pyright --verifytypes` fails for, but for names whose types come from packages that cannot be
installed with the others.
"""

from __future__ import annotations

import json
import subprocess
import sys

UNKNOWN = {
    "vocalsep_async.contrib.airflow.SeparateSongOperator",
    "vocalsep_async.contrib.airflow.SeparationTrigger",
    "vocalsep_async.contrib.airflow.VocalSepHook",
}
"""Their base classes are Airflow's, whose pins clash with those of other frameworks."""
COMMAND = ("pyright", "--verifytypes", "vocalsep_async", "--ignoreexternal", "--outputjson")


def main() -> str | None:
    run = subprocess.run(COMMAND, stdout=subprocess.PIPE, text=True, check=False)
    symbols = json.loads(run.stdout)["typeCompleteness"]["symbols"]
    exported = [each for each in symbols if each["isExported"]]
    unknown = {
        each["name"]: [found["message"] for found in each["diagnostics"]]
        for each in exported
        if not each["isTypeKnown"] or each["isTypeAmbiguous"]
    }
    if not exported or unknown.keys() != UNKNOWN:
        shown = json.dumps(unknown, indent=2)
        return f"{len(exported)} names, of which pyright does not know {shown}"
    return None


if __name__ == "__main__":
    sys.exit(main())
