#!/usr/bin/env -S python3 -B
"""Turns results.json into report.md, readme.md (the results in tests/bench/README.md) and SVG charts.

    usage: report.py build/bench/results.json     bench.py calls it; by itself it writes beside that file
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import charts
from plan import NEVER, TLS, TWO

NOT_AVAILABLE = "n/a"
PROCESSES = ("responder", "nginx")


@dataclass(frozen=True)
class Figure:
    """The median of a figure over the rounds, with minimum and maximum."""

    median: float
    least: float
    most: float

    def __format__(self, digits: str) -> str:
        spec = digits or ".1f"
        if format(self.least, spec) == format(self.most, spec):
            return format(self.median, spec)
        return f"{self.median:{spec}} ({self.least:{spec}}–{self.most:{spec}})"


class Results:
    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw

    def runs(self, measure: str, row: str) -> list[dict[str, Any]]:
        return [run["result"] for run in self.raw["runs"]
                if run["measure"] == measure and run["row"] == row and run["result"] is not None]

    def rows(self, measure: str) -> list[str]:
        return list(dict.fromkeys(run["row"] for run in self.raw["runs"] if run["measure"] == measure))

    def measured(self, start: str) -> list[str]:
        names = (run["measure"] for run in self.raw["runs"])
        return list(dict.fromkeys(name for name in names if name.startswith(start)))

    def figure(self, measure: str, row: str, *path: str) -> Figure | None:
        """The figure at that path of each run's JSON."""
        return self.of(measure, row, lambda run: lookup(run, path))

    def of(self, measure: str, row: str, value: Callable[[dict[str, Any]], float | None]) -> Figure | None:
        values = [number for run in self.runs(measure, row) if (number := value(run)) is not None]
        return Figure(statistics.median(values), min(values), max(values)) if values else None

    def median(self, measure: str, row: str, *path: str) -> float | None:
        figure = self.figure(measure, row, *path)
        return None if figure is None else figure.median

    def shown(self, measure: str, row: str, *path: str, digits: str = ".1f", scale: float = 1) -> str:
        figure = self.figure(measure, row, *path)
        # Empty: measured, but not applicable: nginx alone has no responder.
        return show(figure, digits, scale) if figure is not None or not self.runs(measure, row) else ""

    def milliseconds(self, measure: str, row: str, key: str, *ranks: str) -> list[str]:
        return [self.shown(measure, row, key, rank, digits=".2f", scale=1e-3) for rank in ranks]

    def cpu(self, measure: str, row: str, unit: str = "token") -> list[str]:
        return [self.shown(measure, row, "processes", process, f"cpu_us_per_{unit}") for process in PROCESSES]

    def memory(self, measure: str, row: str) -> list[str]:
        return [self.shown(measure, row, "processes", process, "pss_per_stream_kib") for process in PROCESSES]

    def reasons(self, measure: str) -> list[str]:
        found = {}
        for run in self.raw["runs"]:
            if run["measure"] == measure:
                if run["error"] is not None:
                    found[f"{run['row']}: {run['error']}"] = None
                elif run["result"]["failed"]:
                    found[f"{run['row']}, round {run['round']}: {what_failed(run['result'])}"] = None
        return list(found)


def what_failed(result: dict[str, Any]) -> str:
    said = {"lost": "streams lost", "out_of_order": "tokens out of order", "unnoticed_after_5s": "closes unnoticed"}
    faults = [f"{result[key]} {words}" for key, words in said.items() if result.get(key)]
    return ", ".join(faults) or "failed"


def lookup(run: dict[str, Any], path: Sequence[str]) -> float | None:
    at: Any = run
    for key in path:
        if key not in at:
            return None
        at = at[key]
    return float(at)


def cpu(run: dict[str, Any], unit: str = "token") -> float:
    """The sum over responder and nginx."""
    return float(sum(group[f"cpu_us_per_{unit}"] for group in run["processes"].values()))


def show(figure: Figure | None, digits: str = ".1f", scale: float = 1) -> str:
    if figure is None:
        return NOT_AVAILABLE
    return format(Figure(figure.median * scale, figure.least * scale, figure.most * scale), digits)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---", *(["---:"] * (len(head) - 1))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines)) + "\n"


def notes(results: Results, measures: Sequence[str]) -> str:
    lines = [f"- {measure}: {reason}" for measure in measures for reason in results.reasons(measure)]
    return "\n".join(["", *lines, ""]) if lines else ""


LOAD = {"load-50": "50 x 20/s", "load-200": "200 x 20/s", "load-1000": "1000 x 20/s",
        "batch": "1000 x 20/s, 4 events in a read", "burst": "200 x 250/s"}


def load_section(results: Results) -> str | None:
    names = [name for name in LOAD if name in results.measured("")]
    if not names:
        return None
    cpu_lines, latency_lines = [], []
    for name in names:
        for row in results.rows(name):
            cpu_lines.append([
                f"{LOAD[name]}: {row}",
                *results.cpu(name, row),
                show(results.of(name, row, cpu)),
                show(results.of(name, row, lambda run: run["tokens"] / run["seconds"]), ".0f"),
            ])
            latency_lines.append([
                f"{LOAD[name]}: {row}",
                *results.milliseconds(name, row, "latency_us", "p50", "p99", "p999"),
                *results.milliseconds(name, row, "first_token_us", "p50", "p99"),
            ])
    return "".join([
        "## CPU per token\n\nus of CPU per token; streams x tokens/s.\n\n",
        table(["", "responder", "nginx", "sum", "tokens/s"], cpu_lines),
        "\n![CPU per token](cpu.svg)\n",
        "\n## Added latency\n\nms from the upstream's sending to the client's receiving, and from the request to the",
        " first token.\n\n",
        table(["", "p50", "p99", "p99.9", "first token p50", "first token p99"], latency_lines),
        "\n![Added latency](latency.svg)\n",
        notes(results, names),
    ])


def memory_section(results: Results) -> str | None:
    names = results.measured("memory-")
    if not names:
        return None
    rows = list(dict.fromkeys(row for name in names for row in results.rows(name)))
    lines = []
    for row in rows:
        cells = [cell for name in names for cell in results.memory(name, row)]
        lines.append([row, *cells])
    heads = [f"{name.removeprefix('memory-')}: {process}" for name in names for process in PROCESSES]
    return "".join([
        "## Memory per open stream\n\nKiB of growth (PSS) for each of so many open streams.\n\n",
        table(["", *heads], lines), "\n![Memory per open stream](memory.svg)\n", notes(results, names),
    ])


def idle_section(results: Results) -> str:
    rows = dict.fromkeys(run["row"] for run in results.raw["runs"])
    lines = [[row, *(show(idle_figure(results, row, kind), ".1f", 1 / 1024) for kind in ("rss_kib", "pss_kib"))]
             for row in rows if idle_figure(results, row, "rss_kib")]
    return "## Idle\n\nMiB of the responder before the first request.\n\n" + table(["", "RSS", "PSS"], lines)


def idle_figure(results: Results, row: str, kind: str) -> Figure | None:
    values = [float(run["result"]["idle"][kind]) for run in results.raw["runs"]
              if run["row"] == row and run["result"] is not None and run["result"]["idle"][kind]]
    return Figure(statistics.median(values), min(values), max(values)) if values else None


def held_section(results: Results) -> str | None:
    names = [*results.measured("memory-"), *results.measured("hold-")]
    if not names:
        return None
    lines = []
    for name in names:
        for row in results.rows(name):
            counts = [results.shown(name, row, key, digits=".0f")
                      for key in ("opened", "lost", "late_over_1s", "out_of_order")]
            late = results.shown(name, row, "latency_us", "max", digits=".0f", scale=1e-3)
            lines.append([f"{name.split('-')[1]}: {row}", *counts, late])
    head = ["", "opened", "lost", "tokens over 1 s late", "out of order", "latest token in the window, ms"]
    return ("## Streams held at once\n\n" + table(head, lines)
            + notes(results, results.measured("hold-")))


def requests_section(results: Results) -> str | None:
    names = results.measured("requests-")
    if not names:
        return None
    lines = []
    for name in names:
        for row in results.rows(name):
            lines.append([
                f"{name.removeprefix('requests-')}: {row}",
                results.shown(name, row, "per_second", digits=".0f"),
                *results.cpu(name, row, "request"),
                *results.milliseconds(name, row, "latency_us", "p50", "p99"),
            ])
    return "".join([
        "## Short requests\n\n16 clients, each with one request at a time; the chat is not streamed, its upstream",
        " answers 20 tokens at once. CPU in us per request, latency in ms.\n\n",
        table(["", "requests/s", "responder", "nginx", "p50", "p99"], lines), notes(results, names),
    ])


def cancel_section(results: Results) -> str | None:
    names = results.measured("cancel-")
    if not names:
        return None
    lines = [[f"{name.removeprefix('cancel-')}: {row}",
              *results.milliseconds(name, row, "close_us", "p50", "p99", "max")]
             for name in names for row in results.rows(name)]
    return ("## The client closes\n\nms until the upstream sees the close: while tokens stream, between two tokens,"
            " before the first.\n\n" + table(["", "p50", "p99", "max"], lines) + notes(results, names))


def ramp_section(results: Results) -> str | None:
    lines = [[f"{opened:.0f}", *(f"{per_stream[process]:.0f}" for process in PROCESSES)]
             for opened, per_stream in ramp_steps(results)]
    if not lines:
        return None
    head = ["streams open", "responder", "nginx"]
    return "## Ramp\n\nus of CPU for each new stream, median over the rounds.\n\n" + table(head, lines)


def ramp_steps(results: Results) -> list[tuple[float, dict[str, float]]]:
    steps: dict[float, list[dict[str, float]]] = {}
    for run in results.runs("ramp", "ours"):
        for step in run["ramp"]:
            steps.setdefault(step["opened"], []).append(step["cpu_us_per_stream"])
    return [(opened, {process: statistics.median(step[process] for step in found) for process in found[0]})
            for opened, found in sorted(steps.items())]


def moderation_section(results: Results) -> str | None:
    lines = []
    for name in ("load-200", "load-1000", "burst"):
        for row in ("ours", NEVER):
            if results.runs(name, NEVER):
                lines.append([f"{LOAD[name]}: {row}", *results.cpu(name, row),
                              *results.milliseconds(name, row, "latency_us", "p50", "p99", "p999")])
    if not lines:
        return None
    return ("## Moderation\n\nWith the default `TOKEN_COALESCE` and without. CPU in us per token, added latency in ms."
            "\n\n" + table(["", "responder", "nginx", "p50", "p99", "p99.9"], lines))


def loops(run: dict[str, Any]) -> tuple[float, float]:
    """CPU of the two busiest threads, the busier one first."""
    busiest, second = sorted(run["processes"]["responder"]["threads_cpu_us"], reverse=True)[:2]
    return busiest, second


def loop_balance(run: dict[str, Any]) -> float:
    busiest, second = loops(run)
    return busiest / second


def workers_section(results: Results) -> str | None:
    if not results.runs("load-1000", TWO):
        return None
    lines = [[row, results.shown("load-1000", row, "processes", "responder", "cpu_us_per_token"),
              show(results.of("load-1000", row, balance), ".2f") if balance else ""]
             for row, balance in (("ours", None), (TWO, loop_balance))]
    return ("## Two loops\n\n1000 x 20/s; CPU in us per token, and that of the busier loop over the other's.\n\n"
            + table(["", "responder", "balance"], lines))


def micro_section(results: Results) -> str | None:
    lines = [[one["name"].replace("_", " ").replace("/", ", history turns: "), f"{one['cpu_time']:.0f}"]
             for one in results.raw.get("micro", [])]
    if not lines:
        return None
    return "## Parsers, writers and counters alone\n\nns of CPU, without a socket.\n\n" + table(["", "ns"], lines)


@dataclass(frozen=True)
class Bar:
    figure: str
    bar: float
    beyond: float | None
    unit: str  # what the numbers are
    measured: float | None

    def verdict(self) -> str:
        if self.measured is None:
            return NOT_AVAILABLE
        if self.measured > self.bar:
            return "**NOT met**"
        return "beyond" if self.beyond is not None and self.measured <= self.beyond else "met"

    def cells(self) -> list[str]:
        def with_unit(number: float) -> str:
            return f"{number:g} {self.unit}".strip()

        measured = NOT_AVAILABLE if self.measured is None else f"{self.measured:.2f} {self.unit}".strip()
        beyond = "" if self.beyond is None else "≤ " + with_unit(self.beyond)
        return [self.figure, "≤ " + with_unit(self.bar), beyond, measured, self.verdict()]


def ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def scaled(number: float | None, scale: float) -> float | None:
    return None if number is None else number * scale


def worst(numbers: Iterable[float | None]) -> float | None:
    return max((number for number in numbers if number is not None), default=None)


def bars(results: Results) -> list[Bar]:
    def responder(measure: str, row: str) -> float | None:
        return results.median(measure, row, "processes", "responder", "cpu_us_per_token")

    def total(measure: str, row: str) -> float | None:
        figure = results.of(measure, row, cpu)
        return None if figure is None else figure.median

    def latency(measure: str, row: str, rank: str) -> float | None:
        return results.median(measure, row, "latency_us", rank)

    def per_stream(row: str) -> float | None:
        return worst(results.median(name, row, "processes", "responder", "pss_per_stream_kib")
                     for name in results.measured("memory-"))

    def troubled(measure: str) -> float | None:
        """Streams lost and tokens late, in the worst run."""
        runs = results.runs(measure, "ours")
        return worst(float(run["lost"] + run["late_over_1s"] + run["streams"] - run["opened"]) for run in runs)

    found = [
        Bar("CPU per token, 1000 x 20/s, responder", 0.5, 0.4, "x go",
            ratio(responder("load-1000", "ours"), responder("load-1000", "go"))),
        Bar("the same, responder + nginx", 0.6, 0.5, "x go",
            ratio(total("load-1000", "ours"), total("load-1000", "go"))),
        Bar("CPU per token, 200 x 20/s, responder", 0.75, 0.6, "x go",
            ratio(responder("load-200", "ours"), responder("load-200", "go"))),
        *(Bar(f"CPU per token with TLS upstream, {LOAD[name]}, responder", 1.2, None, "x plain",
              ratio(responder(name, TLS), responder(name, "ours"))) for name in ("load-200", "load-1000")),
        Bar("CPU per token, 4 events in a read, responder", 0.5, None, "x unbatched",
            ratio(responder("batch", "ours"), responder("load-1000", "ours"))),
    ]
    for name in ("load-50", "load-200"):
        found += [Bar(f"added latency {rank}, {LOAD[name]}", bar, 1.5, "x floor",
                      ratio(latency(name, "ours", rank), latency(name, "floor", rank)))
                  for rank, bar in (("p50", 2), ("p99", 2.5))]
    idle = idle_figure(results, "ours", "rss_kib")
    ramp = [step.get("responder") for _, step in ramp_steps(results)]
    half = len(ramp) // 2
    found += [
        Bar(f"added latency p99, {LOAD['load-1000']}", 3, 1.5, "ms", scaled(latency("load-1000", "ours", "p99"), 1e-3)),
        Bar("memory per open stream, responder, the worst", 16, 12, "KiB", per_stream("ours")),
        Bar("the same with TLS upstream", 56, 48, "KiB", per_stream(TLS)),
        Bar("idle RSS, responder", 12, 8, "MiB", scaled(idle.median if idle else None, 1 / 1024)),
        Bar("9500 streams held: streams lost, tokens over 1 s late", 0, None, "", troubled("memory-9500")),
        Bar("20000 streams held: streams lost, tokens over 1 s late", 0, 0, "", troubled("hold-20000")),
        *(Bar(f"client close to upstream close, {phase}, p99", 5, 2, "ms",
              scaled(results.median(f"cancel-{phase}", "ours", "close_us", "p99"), 1e-3))
          for phase in ("streaming", "between", "before")),
        Bar("non-streamed chat, responder", 60, 45, "us CPU",
            results.median("requests-chat", "ours", "processes", "responder", "cpu_us_per_request")),
        Bar("ramp to 8000: CPU per new stream, second half", 1.25, None, "x first half",
            ratio(mean(ramp[half:]), mean(ramp[:half]))),
        Bar("WORKERS=2: CPU of the busier loop", 1.2, None, "x the other's",
            median_of(results.of("load-1000", TWO, loop_balance))),
        Bar("WORKERS=2: CPU per token", 1.2, None, "x WORKERS=1",
            ratio(responder("load-1000", TWO), responder("load-1000", "ours"))),
    ]
    return found


def mean(numbers: Sequence[float | None]) -> float | None:
    there = [number for number in numbers if number is not None]
    return statistics.fmean(there) if there else None


def median_of(figure: Figure | None) -> float | None:
    return None if figure is None else figure.median


def bars_section(results: Results) -> str:
    head = ["figure", "bar", "beyond", "measured", ""]
    return "## Bars\n\nComputed from the medians.\n\n" + table(head, [bar.cells() for bar in bars(results)])


def setting(results: Results) -> str:
    machine = "; ".join(results.raw["machine"].values())
    versions = ", ".join(f"{name} {version}" for name, version in results.raw["versions"].items())
    rounds = results.raw["rounds"]
    spread = f"Medians of {rounds} rounds, minimum and maximum in parentheses." if rounds > 1 else "One round."
    load = f"load average {results.raw['load_average']:.1f} before the run"
    return (f"`{results.raw['command']}`, {results.raw['date']}. {machine}; {load}. {versions}. Everything on loopback of one"
            f" machine, load generator and upstream included. {spread} Only ratios within one run mean anything.\n")


EXPLAINED = {
    "floor": "nginx alone (`proxy_pass`)", "ours": "**bailian-fcgi**", TLS: "**bailian-fcgi**, TLS upstream",
    "stub": "FastCGI stub, no upstream", "go": "Go `net/http` relay", "php": "PHP-FPM with cURL",
}


def readme(results: Results, chart: str) -> str:
    lines = []
    memory = (results.measured("memory-") or [""])[0]
    for row in results.rows("load-1000"):
        if row in (NEVER, TWO):
            continue
        lines.append([
            EXPLAINED.get(row, row),
            *results.cpu("load-1000", row),
            *results.milliseconds("load-1000", row, "latency_us", "p50", "p99"),
            *results.memory(memory, row),
        ])
    head = ["1000 streams x 20 tokens/s", "CPU us/token", "its nginx", "added latency p50, ms", "p99, ms",
            "memory/stream, KiB", "its nginx"]
    return table(head, lines) + f"\n![CPU per token by contender]({chart})\n\n" + setting(results)


def chart_bars(results: Results, measure: str, paths: Sequence[Sequence[str]], scale: float) -> list[charts.Bars]:
    found = []
    for row in results.rows(measure):
        values = [results.median(measure, row, *path) for path in paths]
        if row not in (NEVER, TWO) and any(value is not None for value in values):
            found.append(charts.Bars(row, [(value or 0) * scale for value in values]))
    return found


def write_charts(results: Results, out: Path) -> list[str]:
    """What could not be drawn, and why."""
    processes = [("processes", name) for name in PROCESSES]
    memory = (results.measured("memory-") or [""])[0]
    wanted = {
        "cpu.svg": (charts.Chart("CPU per token, 1000 streams x 20 tokens/s", "us", PROCESSES, True),
                    chart_bars(results, "load-1000", [(*path, "cpu_us_per_token") for path in processes], 1)),
        "latency.svg": (charts.Chart("Added latency, 1000 streams x 20 tokens/s", "ms", ("p50", "p99"), False),
                        chart_bars(results, "load-1000", [("latency_us", rank) for rank in ("p50", "p99")], 1e-3)),
        "memory.svg": (charts.Chart(f"Memory per open stream, {memory.removeprefix('memory-')} streams", "KiB",
                                    PROCESSES, True),
                       chart_bars(results, memory, [(*path, "pss_per_stream_kib") for path in processes], 1)),
    }
    faults = []
    for name, (chart, drawn) in wanted.items():
        try:
            if drawn:
                charts.draw(chart, drawn, out / name)
        except (OSError, subprocess.CalledProcessError) as error:
            faults.append(f"{name}: {error}")
    return faults


def write(raw: dict[str, Any], out: Path) -> None:
    results = Results(raw)
    sections = [load_section, memory_section, idle_section, held_section, requests_section, cancel_section,
                ramp_section, moderation_section, workers_section, micro_section, bars_section]
    written = [text for section in sections if (text := section(results)) is not None]
    text = "\n".join(["# Benchmark\n", setting(results), *written])
    (out / "report.md").write_text(text)
    (out / "readme.md").write_text(readme(results, "cpu.svg"))
    for fault in write_charts(results, out):
        print(f"report: {fault}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"{__doc__}")
    source = Path(sys.argv[1])
    write(json.loads(source.read_text()), source.parent)
