"""Pictures drawn as SVG by hand: axes, ticks and marks that take their colours and fonts from the page's style sheet.

A mark names a class (`easy`, `mix`, ...), never a colour, so one picture serves light, dark and print. Sizes are units of a picture
WIDTH wide; the page scales it. Equal input gives equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 460.0
# Fonts differ from machine to machine; this is wide for a sans-serif of 12 units, so that labels do not run into the plot.
LETTER = 6.5
LINE = 15.0
SCALE = 1.5
"""Of a picture that stands alone, in pixels for each unit."""
_COLOURS = {"mix": "#0f7a64", "above": "#0b6d58", "below": "#b03a12", "none": "#6f7780"}
_MARKS = ".{0} .range{{stroke:{1}}}.{0} .dot{{fill:{1}}}.{0} .hollow{{stroke:{1}}}.{0} .line{{stroke:{1}}}"
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1d2126}.card{fill:#fff}.tick{font-size:11px;fill:#596169}.value{font-weight:600}"
    ".grid{stroke:#e0ddd6;stroke-width:.7}.zero{stroke:#1d2126;stroke-width:1.2}.level{stroke:#6f7780;stroke-dasharray:2 3}"
    ".range{stroke-width:2.4;stroke-linecap:round}.range.thin{stroke-width:1.6}.hollow{fill:#fff;stroke-width:2}"
    ".line{fill:none;stroke-width:2}.line.faint{stroke:#e0ddd6}" + "".join(_MARKS.format(*pair) for pair in _COLOURS.items())
)
"""Of a picture that stands alone."""


@dataclass(frozen=True)
class Picture:
    """One plot: what it shows in words, its SVG, and what to see in it."""

    title: str
    svg: str
    note: str = ""


def element(name: str, content: str = "", /, **attributes: object) -> str:
    """Return one element; `content` is markup, attributes are escaped, `class_` is `class` and `_` in a name is a hyphen."""
    told = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"' for key, value in attributes.items())
    return f"<{name}{told}>{content}</{name}>" if content else f"<{name}{told}/>"


def text(x: float, y: float, words: str, **attributes: object) -> str:
    """Return a line of text; its words are escaped."""
    return element("text", escape(words, quote=False), x=x, y=y, **attributes)


def tooltip(words: str) -> str:
    """Return what a mark says when the pointer rests on it."""
    return element("title", escape(words, quote=False))


def document(height: float, parts: Iterable[str], label: str) -> str:
    """Return the whole picture, named for those who cannot see it."""
    return element("svg", "".join(parts), viewBox=f"0 0 {WIDTH:g} {_number(height)}", role="img", aria_label=label)


def standalone(picture: Picture) -> str:
    """Return a picture as a file of its own, with the colours that on a page the style sheet gives."""
    opening = picture.svg.index(">")
    height = float(picture.svg.split('viewBox="', 1)[1].split('"', 1)[0].split()[-1])
    size = f'width="{SCALE * WIDTH:.0f}" height="{SCALE * height:.0f}"'
    return (
        picture.svg[:opening].replace("<svg", f'<svg xmlns="http://www.w3.org/2000/svg" {size}', 1)
        + f"><style>{STYLE}</style>"
        + element("rect", x=0, y=0, width="100%", height="100%", class_="card")
        + picture.svg[opening + 1 :]
    )


def width_of(words: str) -> float:
    """Return about how wide a label is."""
    return LETTER * len(words)


def shortened(words: str, width: float) -> str:
    """Return a label that fits, its end cut with an ellipsis where it does not."""
    most = max(4, int(width / LETTER))
    return words if len(words) <= most else words[: most - 1] + "…"


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` laid out from `start` to `end`, evenly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Return the place of a value."""
        share = (value - self.low) / (self.high - self.low)
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + (self.end - self.start) * share

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values on the axis."""
        if self.logarithmic:
            return _logarithmic_ticks(self.low, self.high, most)
        step = _round_step((self.high - self.low) / most)
        first = math.ceil(self.low / step - 1e-9)
        return [round(place * step, 12) for place in range(first, math.floor(self.high / step + 1e-9) + 1)]


def linear(values: Iterable[float], start: float, end: float, zero: bool = False) -> Axis:
    """Return an even axis that holds the values with a little room, or begins at zero."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(known), max(known)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return Axis(min(0.0, low) if zero else low - room, high + room, start, end)


def logarithmic(values: Iterable[float], start: float, end: float) -> Axis:
    """Return a logarithmic axis that holds the values, all above zero, with a little room."""
    known = [value for value in values if math.isfinite(value) and value > 0] or [1.0, 10.0]
    room = (max(known) / min(known)) ** 0.05 if max(known) > min(known) else 1.5
    return Axis(min(known) / room, max(known) * room, start, end, logarithmic=True)


def vertical_grid(axis: Axis, top: float, bottom: float, label: str, told: Callable[[float], str], most: int = 6) -> list[str]:
    """Return the grid, the tick labels and the name of a horizontal axis drawn at `bottom`."""
    parts = []
    for tick in axis.ticks(most):
        place = axis.at(tick)
        parts.append(element("line", x1=place, x2=place, y1=top, y2=bottom, class_="grid"))
        parts.append(text(place, bottom + LINE, told(tick), class_="tick", text_anchor="middle"))
    parts.append(text((axis.start + axis.end) / 2, bottom + 2.3 * LINE, label, text_anchor="middle"))
    return parts


def horizontal_grid(axis: Axis, left: float, right: float, label: str, told: Callable[[float], str]) -> list[str]:
    """Return the grid, the tick labels and the name, above them, of a vertical axis drawn at `left`."""
    parts = []
    for tick in axis.ticks(5):
        place = axis.at(tick)
        parts.append(element("line", x1=left, x2=right, y1=place, y2=place, class_="grid"))
        parts.append(text(left - 6, place + 4, told(tick), class_="tick", text_anchor="end"))
    parts.append(text(2, min(axis.start, axis.end) - 10, label))
    return parts


def path(points: Sequence[tuple[float, float] | None], **attributes: object) -> str:
    """Return a line through the points, broken where one is missing."""
    steps, broken = [], True
    for point in points:
        if point is None:
            broken = True
            continue
        steps.append(f"{'M' if broken else 'L'}{_number(point[0])} {_number(point[1])}")
        broken = False
    return element("path", d="".join(steps), **attributes) if steps else ""


def compact(value: float) -> str:
    """Return a tick's number: `12`, `0.5`, `3k`, `1.5M`."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.4g}".replace("-", "−")


def signed(value: float) -> str:
    """Return a tick's number with its sign: `+5`, `−5`, `0`."""
    return f"+{value:g}" if value > 0 else f"{value:g}".replace("-", "−")


def _round_step(least: float) -> float:
    size = 10.0 ** math.floor(math.log10(least))
    return next(size * part for part in (1, 2, 5, 10) if size * part >= least * (1 - 1e-9))


def _logarithmic_ticks(low: float, high: float, most: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for parts in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [part * 10.0**power for power in powers for part in parts if low <= part * 10.0**power <= high]
        if len(found) <= most:
            break
    if len(found) >= 2:
        return found[:: -(-len(found) // most)]
    return Axis(low, high, 0, 1).ticks(most)


def _number(value: object) -> str:
    return f"{round(value, 1):g}" if isinstance(value, float) else str(value)
