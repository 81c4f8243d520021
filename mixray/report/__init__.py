"""The report: what each student learned from each mixture, with intervals, as JSON, Markdown and one HTML page."""

from mixray.report.alone import accuracies
from mixray.report.answers import Arm, Merged, SeedGroup, read_groups
from mixray.report.build import handle, run
from mixray.report.contrasts import Estimate, Measure, estimate, read_terms
from mixray.report.plots import curve, forest, scaling
from mixray.report.responses import Responses, gather
from mixray.report.style import style_shift
from mixray.report.svg import Picture, standalone
from mixray.report.words import answer

__all__ = [
    "Arm",
    "Estimate",
    "Measure",
    "Merged",
    "Picture",
    "Responses",
    "SeedGroup",
    "accuracies",
    "answer",
    "curve",
    "estimate",
    "forest",
    "gather",
    "handle",
    "read_groups",
    "read_terms",
    "run",
    "scaling",
    "standalone",
    "style_shift",
]
