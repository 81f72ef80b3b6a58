"""The HTML report of a run: one page with the outcome of each task and players for its stems."""

# Imported only for a run with a report: Jinja2 and miniaudio are large packages.
from vocalsep_async.cli.report.page import write_report
from vocalsep_async.cli.report.run import Run, Sample, TimedOutcome
from vocalsep_async.cli.report.waveform import Peaks, compute_peaks

__all__ = ("Peaks", "Run", "Sample", "TimedOutcome", "compute_peaks", "write_report")
