"""The report: what each student learned from each mixture, with intervals, as JSON, Markdown and one HTML page."""

from mixray.report.alone import accuracies
from mixray.report.answers import Arm, Merged
from mixray.report.build import handle, run
from mixray.report.words import answer

__all__ = ["Arm", "Merged", "accuracies", "answer", "handle", "run"]
