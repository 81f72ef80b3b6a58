"""The command line (extra ``cli``)."""

from vocalsep_async.cli.commands import app

__all__ = ("app",)
