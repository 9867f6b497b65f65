"""docs/performance.svg from the last results: a life step by step beside the floor, and the controller's memory over many lives.

Plain SVG by the standard library: two kinds of marks do not pay for a plotting library in the lock file.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as Xml

from server.settings import CHECKOUT
from tests.bench.lives import END, GONE, LINE, MACHINE
from tests.bench.measuring import read_results

PLOT = CHECKOUT / "docs" / "performance.svg"
WIDTH, LEFT, RIGHT, GAP = 900, 150, 40, 16
BAR, TITLE, AXIS = 26, 54, 44
CHART = 190
INK, FAINT = "#333333", "#d8d8d8"
# Four lightnesses of two hues, readable on paper and by colour-blind eyes.
STEPS = {
    MACHINE: ("the machine is made", "#1b6ca8"),
    LINE: ("login, mount, the app's first line", "#6fb1dd"),
    END: ("the app runs, its end is seen", "#c9c9c9"),
    GONE: ("the machine is removed", "#e08a3c"),
}
WHO = ("floor", "Cumulus", "baseline")


@dataclass
class Sheet:
    """An SVG that grows downwards. ``at``: where the next part begins."""

    root: Xml.Element
    at: float = 0.0

    def add(self, tag: str, **attributes: object) -> Xml.Element:
        """One element; underscores in names stand for dashes, numbers are rounded to tenths of a pixel."""
        given = {name.rstrip("_").replace("_", "-"): _text(value) for name, value in attributes.items()}
        return Xml.SubElement(self.root, tag, given)

    def write(self, x: float, y: float, text: str, **attributes: object) -> None:
        """A word or a line."""
        self.add("text", x=x, y=y, fill=INK, **attributes).text = text

    def title(self, text: str) -> None:
        """A part's heading."""
        self.write(GAP, self.at + 26, text, font_size=15, font_weight="bold")
        self.at += TITLE


def main() -> None:
    """Draw what there is of the results; nothing where there is none."""
    results = read_results()
    if drawn := draw(results):
        PLOT.write_text(drawn)


def draw(results: Mapping[str, Any]) -> str:
    """The text of the SVG; "" without results to draw."""
    root = Xml.Element("svg", xmlns="http://www.w3.org/2000/svg", width=str(WIDTH))
    root.set("font-family", "Helvetica, Arial, sans-serif")
    root.set("font-size", "12")
    sheet = Sheet(root)
    background = sheet.add("rect", width=WIDTH, fill="white")
    if "jobs" in results:
        _lives(sheet, results["jobs"]["lives"])
    if len(results.get("growth", {}).get("memory", [])) > 1:
        _memory(sheet, results["growth"]["memory"])
    if not sheet.at:
        return ""
    for element in (root, background):
        element.set("height", _text(sheet.at))
    root.set("viewBox", f"0 0 {WIDTH} {_text(sheet.at)}")
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode") + "\n"


def _lives(sheet: Sheet, lives: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """A bar for each column of the tables: the medians of when each step was reached."""
    bars = {name: _reached(steps) for name, steps in lives.items()}
    numbers = sorted({int(name.split()[1]) for name in bars})
    longest = max(max(reached.values()) for reached in bars.values())
    scale, ticks = _scale(longest, WIDTH - LEFT - RIGHT)
    sheet.title("A job's life, from its submission (medians)")
    _legend(sheet)
    top = sheet.at
    for number in numbers:
        for who in (who for who in WHO if f"{who} {number}" in bars):
            _bar(sheet, f"{who}, {number} at once", bars[f"{who} {number}"], scale)
        sheet.at += GAP
    for tick in ticks:
        x = LEFT + tick * scale
        sheet.root.insert(1, Xml.Element("line", _line(x, top - 4, x, sheet.at - 8)))
        sheet.write(x, sheet.at + 8, f"{tick:g} s", text_anchor="middle")
    sheet.at += AXIS - GAP


def _reached(steps: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {step: statistics.median(steps[step]) for step in STEPS if step in steps}


def _legend(sheet: Sheet) -> None:
    x = float(GAP)
    for text, colour in STEPS.values():
        sheet.add("rect", x=x, y=sheet.at - 12, width=12, height=12, fill=colour)
        sheet.write(x + 17, sheet.at - 2, text)
        x += 36 + 6.4 * len(text)  # about as wide as Helvetica is
    sheet.at += GAP


def _bar(sheet: Sheet, name: str, reached: Mapping[str, float], scale: float) -> None:
    begin = 0.0
    sheet.write(LEFT - 8, sheet.at + BAR * 0.62, name, text_anchor="end")
    for step, end in reached.items():
        x, width = LEFT + begin * scale, max(0.0, end - begin) * scale
        sheet.add("rect", x=x, y=sheet.at + 2, width=width, height=BAR - 4, fill=STEPS[step][1])
        if width > 30:
            ink = "white" if step == MACHINE else INK
            middle = {"x": x + width / 2, "y": sheet.at + BAR * 0.62, "text_anchor": "middle"}
            sheet.add("text", **middle, fill=ink).text = f"{end - begin:.1f}"
        begin = max(begin, end)
    sheet.write(LEFT + begin * scale + 5, sheet.at + BAR * 0.62, f"{begin:.1f} s", font_weight="bold")
    sheet.at += BAR


def _memory(sheet: Sheet, samples: Sequence[Sequence[float]]) -> None:
    """A line of the controller's resident memory, from zero, so that a small slope looks small."""
    sheet.title("The controller's memory while jobs run to their end")
    lives, highest = max(sample[0] for sample in samples), max(sample[1] for sample in samples)
    across, x_ticks = _scale(max(lives, 1), WIDTH - LEFT - RIGHT)
    up, y_ticks = _scale(highest * 1.1, CHART)
    bottom = sheet.at - GAP + CHART
    for tick in y_ticks:
        y = bottom - tick * up
        sheet.add("line", **_line(LEFT, y, WIDTH - RIGHT, y))
        sheet.write(LEFT - 8, y + 4, f"{tick:g} MB", text_anchor="end")
    for tick in x_ticks:
        sheet.write(LEFT + tick * across, bottom + 18, f"{tick:g}", text_anchor="middle")
    sheet.write((LEFT + WIDTH - RIGHT) / 2, bottom + 36, "lives that have ended", text_anchor="middle")
    points = " ".join(f"{LEFT + at * across:.1f},{bottom - mb * up:.1f}" for at, mb in samples)
    sheet.add("polyline", points=points, fill="none", stroke=STEPS[MACHINE][1], stroke_width=2)
    sheet.at = bottom + AXIS + GAP


def _line(x1: float, y1: float, x2: float, y2: float) -> dict[str, str]:
    return {"x1": _text(x1), "y1": _text(y1), "x2": _text(x2), "y2": _text(y2), "stroke": FAINT}


def _scale(highest: float, pixels: float) -> tuple[float, list[float]]:
    """Pixels for one unit, and where the ticks are: ten at most, a round number apart."""
    rounds = (digit * 10.0**power for power in range(-1, 7) for digit in (1, 2, 5))
    apart = next(one for one in rounds if highest / one <= 10)
    return pixels / (highest * 1.06), [number * apart for number in range(int(highest / apart) + 1)]


def _text(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
