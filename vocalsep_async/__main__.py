"""``vocalsep`` and ``python -m vocalsep_async``: the command line, if it is installed."""

import sys


def main() -> None:
    """Run the command line, or say what it needs."""
    try:
        from vocalsep_async.cli import app  # noqa: PLC0415 - its packages may be missing
    except ModuleNotFoundError as error:
        if error.name not in {"jinja2", "markupsafe", "miniaudio", "rich", "typer"}:
            raise
        sys.exit('The command line needs more packages: pip install "vocalsep-async[cli]"')
    app()


if __name__ == "__main__":
    main()
