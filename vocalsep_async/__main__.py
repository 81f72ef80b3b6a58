"""``vocalsep`` and ``python -m vocalsep_async``: runs the command line, if it is installed."""

import sys

from vocalsep_async import _startup

_EXTRA_PACKAGES = {"jinja2", "markupsafe", "miniaudio", "rich", "typer"}


def main() -> None:
    """Run the command line, or exit with the command that installs its packages."""
    try:
        # Imported late: its packages may be missing.
        from vocalsep_async.cli import app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA_PACKAGES:
            raise
        sys.exit('The command line needs more packages: pip install "vocalsep-async[cli]"')
    _startup.restore_signals()
    app()


if __name__ == "__main__":
    main()
