"""Numbers as people read them: the one place that rounds for the eye."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOTHING = "–"


def percent(share: float | None) -> str:
    """Return a share as `61.3 %`."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def points(share: float) -> str:
    """Return a difference of shares in percentage points, signed: `+4.2`."""
    return f"{100 * share:+.1f}"


def accuracy(score: Mapping[str, Any]) -> str:
    """Return `61.3 % [55.9, 66.4]`."""
    return f"{percent(score['accuracy'])} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


def change(gap: Mapping[str, Any]) -> str:
    """Return a gap in percentage points with its interval: `+4.2 [-1.0, +9.3]`."""
    return f"{points(gap['difference'])} [{points(gap['low'])}, {points(gap['high'])}]"


def count(number: float | None) -> str:
    """Return a whole number with separators: `12,345`."""
    return NOTHING if number is None else f"{number:,.0f}"


def alpha(value: float | None) -> str:
    """Return alpha as it was written, or a dash."""
    return NOTHING if value is None else f"{value:g}"


def duration(seconds: float) -> str:
    """Return seconds as `48 s`, `12 min` or `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
