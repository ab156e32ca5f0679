"""Bar charts as SVG, drawn by gnuplot."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COLOURS = ("#2563eb", "#94a3b8")


@dataclass(frozen=True)
class Chart:
    title: str
    unit: str
    series: tuple[str, str]
    stacked: bool


@dataclass(frozen=True)
class Bars:
    label: str
    values: Sequence[float]  # one for each series


def draw(chart: Chart, bars: Sequence[Bars], file: Path) -> None:
    subprocess.run(["gnuplot"], input=script(chart, bars, file), text=True, check=True)


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def script(chart: Chart, bars: Sequence[Bars], file: Path) -> str:
    data = "\n".join(f'"{one.label.replace(", ", chr(92) + "n")}" ' + " ".join(map(str, one.values)) for one in bars)
    top = max(sum(one.values) if chart.stacked else max(one.values) for one in bars)
    boxes = ", ".join(
        f"$data using {i + 2}:xtic(1) linecolor rgb '{colour}' title '{name}'"
        for i, (name, colour) in enumerate(zip(chart.series, COLOURS)))
    # A white background, because the page may be dark.
    return f"""
set terminal svg size {max(760, 100 * len(bars))},380 font 'sans-serif,14' background '#ffffff'
set output '{file}'
$data << EOD
{data}
EOD
set title "{chart.title}" font ',16'
set style data histograms
set style histogram {"rowstacked" if chart.stacked else "clustered gap 1"}
set style fill solid noborder
set boxwidth {0.6 if chart.stacked else 0.95}
set yrange [0:{top * 1.15}]
set ylabel "{chart.unit}"
set grid y linecolor rgb '#e2e8f0' linetype 1
set border 1 linecolor rgb '#475569'
set tics scale 0
set key outside top right horizontal reverse Left
set bmargin 3.5
{labels(chart, bars, top)}
plot {boxes}
"""


def labels(chart: Chart, bars: Sequence[Bars], top: float) -> str:
    """The value above each bar."""
    lines = []
    for x, one in enumerate(bars):
        if chart.stacked:
            at = [(float(x), sum(one.values))]
        else:
            width = 1 / (len(one.values) + 1)
            at = [(x + (i - (len(one.values) - 1) / 2) * width, value) for i, value in enumerate(one.values)]
        lines += [f"set label '{number(y)}' at {left},{y + top * 0.045} center font ',12'" for left, y in at]
    return "\n".join(lines)
