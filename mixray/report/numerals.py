"""Numbers as people read them: the one place that rounds for the eye."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NOTHING = "–"
BLOCKS = "▁▂▃▄▅▆▇█"


def percent(share: float | None) -> str:
    """Return a share as `61.3 %`."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def points(share: float) -> str:
    """Return a difference of shares in percentage points, signed: `+4.2`."""
    return f"{100 * share:+.1f}"


def accuracy(score: Mapping[str, Any]) -> str:
    """Return `61.3 % [55.9, 66.4]`."""
    return f"{percent(score['accuracy'])} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


def rate(row: Mapping[str, Any], name: str) -> str:
    """Return one of a row's `..._share` with its interval: `12.5 % [9.1, 16.9]`."""
    low, high = row["share_intervals"][name]
    return f"{percent(row[name])} [{100 * low:.1f}, {100 * high:.1f}]"


def at(score: Mapping[str, Any], name: str, k: str) -> str:
    """Return `pass_at` or `maj_at` of k with its interval; a dash where it is not told."""
    if k not in score[name]:
        return NOTHING
    low, high = score[f"{name}_intervals"][k]
    return f"{percent(score[name][k])} [{100 * low:.1f}, {100 * high:.1f}]"


def change(gap: Mapping[str, Any]) -> str:
    """Return a gap in percentage points with its interval: `+4.2 [-1.0, +9.3]`."""
    return f"{points(gap['difference'])} [{points(gap['low'])}, {points(gap['high'])}]"


def count(number: float | None) -> str:
    """Return a whole number with separators: `12,345`."""
    return NOTHING if number is None else f"{number:,.0f}"


def alpha(value: float | None) -> str:
    """Return alpha as it was written, or a dash."""
    return NOTHING if value is None else f"{value:g}"


def parameters(number: int | None) -> str:
    """Return ` (1.5B)`, ` (494M)` or ` (120k)` after a student's name, and nothing where it is not known."""
    if number is None:
        return ""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size or unit == "k":
            return f" ({number / size:.2g}{unit})" if number < 99.5 * size else f" ({number / size:.0f}{unit})"
    return ""


def loss(value: float | None) -> str:
    """Return a loss with four decimals."""
    return NOTHING if value is None else f"{value:.4f}"


def memory(num_bytes: float | None) -> str:
    """Return bytes as `812 MiB` or `5.5 GiB`."""
    if num_bytes is None:
        return NOTHING
    return f"{num_bytes / 2**20:,.0f} MiB" if num_bytes < 2**30 else f"{num_bytes / 2**30:.1f} GiB"


def passes(training: Mapping[str, Any]) -> str:
    """Return how often each trained token was seen: `3.00`, or less where rows were left out of the last pass."""
    seen, once = training["seen_loss_tokens"], training["num_loss_tokens"]
    return NOTHING if not seen or not once else f"{seen / once:,.2f}"


def sparkline(values: Sequence[float | None], width: int = 24) -> str:
    """Return values as a line of blocks between their least and greatest, at most `width` of them: `█▅▃▂▁▁`."""
    known = [value for value in values if value is not None]
    if not known:
        return NOTHING
    low, span = min(known), max(known) - min(known)
    last = len(known) - 1
    shown = known if len(known) <= width else [known[round(place * last / (width - 1))] for place in range(width)]
    return "".join(BLOCKS[round((len(BLOCKS) - 1) * (value - low) / span)] if span else BLOCKS[0] for value in shown)


def duration(seconds: float | None) -> str:
    """Return seconds as `0.7 s`, `48 s`, `12 min` or `3.4 h`."""
    if seconds is None:
        return NOTHING
    if 0 < seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.1 else "< 0.1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
