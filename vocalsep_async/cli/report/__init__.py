"""A run of the command line as one HTML file: what became of each task, and its stems to hear.

Its packages, Jinja2 and miniaudio, are large: import it only where a report was asked for.
"""

from vocalsep_async.cli.report.page import write_report
from vocalsep_async.cli.report.run import Arrival, Run, Sample
from vocalsep_async.cli.report.waveform import Peaks, peaks_of

__all__ = ("Arrival", "Peaks", "Run", "Sample", "peaks_of", "write_report")
