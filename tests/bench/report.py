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
from plan import CAPS_OFF, CAPS_ON, KEYED, NEVER, OVER_TLS, TWO, over_tls

NOT_AVAILABLE = "n/a"
TLS = over_tls("ours")
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


def figure_of(values: Sequence[float]) -> Figure | None:
    return Figure(statistics.median(values), min(values), max(values)) if values else None


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
        return figure_of([number for run in self.runs(measure, row) if (number := value(run)) is not None])

    def compared(self, measure: str, rows: tuple[str, str], value: Callable[[dict[str, Any]], float | None],
                 how: Callable[[float, float], float]) -> Figure | None:
        """Two rows of the same round, round by round."""
        by_round: list[dict[int, float]] = []
        for row in rows:
            values = ((run["round"], value(run["result"])) for run in self.raw["runs"]
                      if run["measure"] == measure and run["row"] == row and run["result"] is not None)
            by_round.append({number: one for number, one in values if one is not None})
        one, other = by_round
        return figure_of([how(one[number], other[number]) for number in sorted(one.keys() & other.keys())])

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
    said = {"lost": "streams lost", "out_of_order": "tokens out of order", "unnoticed_after_5s": "closes unnoticed",
            "unanswered": "questions unanswered"}
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


def idle_section(results: Results) -> str | None:
    rows = dict.fromkeys(run["row"] for run in results.raw["runs"])
    lines = [[row, *(show(idle_figure(results, row, kind), ".1f", 1 / 1024) for kind in ("rss_kib", "pss_kib"))]
             for row in rows if idle_figure(results, row, "rss_kib")]
    if not lines:
        return None
    return "## Idle\n\nMiB of the responder before the first request.\n\n" + table(["", "RSS", "PSS"], lines)


def idle_figure(results: Results, row: str, kind: str) -> Figure | None:
    return figure_of([float(run["result"]["idle"][kind]) for run in results.raw["runs"]
                      if run["row"] == row and run["result"] and run["result"].get("idle", {}).get(kind)])


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


def caps_section(results: Results) -> str | None:
    lines = [[LOAD[name], *(results.shown(name, row, "processes", "responder", "cpu_us_per_token")
                            for row in (CAPS_ON, CAPS_OFF, "ours", KEYED))]
             for name in ("load-200", "load-1000") if results.runs(name, CAPS_ON)]
    if not lines:
        return None
    return ("## Caps and keys\n\nCPU of the responder in us per token: with a cap that is not reached, without a ledger,"
            " with a ledger and no cap, and the same with an `Idempotency-Key`, as the widget asks.\n\n"
            + table(["", "caps on", "caps off", "a ledger", "and a key"], lines))


def visits_section(results: Results) -> str | None:
    if "first-token-local" not in results.measured(""):
        return None
    lines = []
    for row in results.rows("first-token-local"):
        floor = over_tls("floor") if row.endswith(OVER_TLS) else "floor"
        added = results.compared("first-token-local", (row, floor), first_token_p99, lambda one, other: one - other)
        lines.append([row, *results.milliseconds("first-token-local", row, "first_token_us", "p50", "p99"),
                      "" if row == floor else show(added, ".0f")])
    return ("## Time to the first token, one visitor\n\nOne question after another on one kept connection to nginx,"
            " each when the one before is answered. The upstream sends the first token at once. ms from the sending of the"
            " question until the first token is here. Added: p99 less the p99 of nginx alone (`floor`) in the same"
            " round, in us.\n\n"
            + table(["", "p50", "p99", "added to p99, us"], lines) + notes(results, ["first-token-local"]))


def distances(results: Results) -> list[str]:
    return [name for name in results.measured("first-token-") if name.endswith("ms")]


def samples(results: Results, measure: str, row: str, case: str) -> Figure | None:
    """us until the first token, of all sites of the row."""
    return figure_of([one for run in results.runs(measure, row) for one in run["cases"].get(case, [])])


def cases_of(results: Results, measure: str) -> list[str]:
    """Warm, cold, then by the idle time."""
    names = {case for row in results.rows(measure) for run in results.runs(measure, row) for case in run["cases"]}
    idle = sorted(names - {"warm", "cold"}, key=lambda name: int(name.split()[1]))
    return [name for name in ("warm", "cold") if name in names] + idle


DISTANCE = """## Time to the first token, at a distance

Over TLS, on a link that delays every packet by half the round trip: the lookup of the upstream's name costs a round
trip, the TCP connection another, the TLS handshake another, and the request the last one. The upstream sends the first
token at once, and closes a connection that was idle for 60 s. ms from the question until the first token is here,
through nginx; all samples of several sites with processes of their own, in one run, whatever the number of rounds.

- *warm*: right after another answer.
- *cold*: the first question to a new process.
- *idle*: after so long without a question.

Except for *warm*, the visitor's page loads (`GET /myapi/v1/chat-bot-config`) 2 s before the question. That is when
bailian-fcgi warms up, if `WARM_UP` is on; the rows with `WARM_UP=off` show it without.

"""


def distance_section(results: Results) -> str | None:
    names = distances(results)
    if not names:
        return None
    parts = []
    for name in names:
        cases = cases_of(results, name)
        lines = [[row, *(show(samples(results, name, row, case), ".0f", 1e-3) for case in cases)]
                 for row in results.rows(name)]
        connects = figure_of([run["connect_ms"] for row in results.rows(name) for run in results.runs(name, row)])
        parts.append(f"Round trip {round_trip(name)}; a TCP connection, measured: {show(connects)} ms.\n\n"
                     + table(["", *cases], lines) + notes(results, [name]))
    return DISTANCE + "\n".join(parts)


def round_trip(measure: str) -> str:
    return measure.removeprefix("first-token-").removesuffix("ms") + " ms"


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
    measured: Figure | None
    digits: str = ".2f"

    def verdict(self) -> str:
        if self.measured is None:
            return NOT_AVAILABLE
        if self.measured.median > self.bar:
            return "**NOT met**"
        return "beyond" if self.beyond is not None and self.measured.median <= self.beyond else "met"

    def cells(self) -> list[str]:
        def with_unit(number: str) -> str:
            return f"{number} {self.unit}".strip()

        measured = NOT_AVAILABLE if self.measured is None else with_unit(format(self.measured, self.digits))
        beyond = "" if self.beyond is None else "≤ " + with_unit(f"{self.beyond:g}")
        return [self.figure, "≤ " + with_unit(f"{self.bar:g}"), beyond, measured, self.verdict()]


def exactly(number: float | None) -> Figure | None:
    return None if number is None else Figure(number, number, number)


def scaled(figure: Figure | None, scale: float) -> Figure | None:
    return None if figure is None else Figure(figure.median * scale, figure.least * scale, figure.most * scale)


def worst(figures: Iterable[Figure | None]) -> Figure | None:
    return max((figure for figure in figures if figure is not None), key=lambda figure: figure.median, default=None)


def responder_cpu(run: dict[str, Any]) -> float | None:
    return lookup(run, ("processes", "responder", "cpu_us_per_token"))


def first_token_p99(run: dict[str, Any]) -> float | None:
    return lookup(run, ("first_token_us", "p99"))


def latency_of(rank: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda run: lookup(run, ("latency_us", rank))


def quotient(one: float, other: float) -> float:
    return one / other


def memory_per_stream(results: Results, row: str) -> Figure | None:
    return worst(results.figure(name, row, "processes", "responder", "pss_per_stream_kib")
                 for name in results.measured("memory-"))


def first_bars(results: Results) -> list[Bar]:
    """What bailian-fcgi is to reach beside Go and beside nginx alone; TLS first."""

    def to_go(measure: str, value: Callable[[dict[str, Any]], float | None], *, tls: bool) -> Figure | None:
        rows = (TLS, over_tls("go")) if tls else ("ours", "go")
        return results.compared(measure, rows, value, quotient)

    def added(*, tls: bool) -> Figure | None:
        rows = (TLS, over_tls("floor")) if tls else ("ours", "floor")
        return results.compared("first-token-local", rows, first_token_p99, lambda one, other: one - other)

    over = "TLS upstream, "
    found = [
        *(Bar(f"{over}CPU per token, {LOAD[name]}, responder", 0.5, None, "x go",
              to_go(name, responder_cpu, tls=True)) for name in ("load-1000", "load-200", "load-50")),
        Bar(f"{over}memory per open stream, responder, the worst", 40, None, "KiB", memory_per_stream(results, TLS)),
        Bar(f"{over}added to the time to the first token, p99, one visitor", 250, None, "us", added(tls=True), ".0f"),
        Bar("CPU per token, 1000 x 20/s, responder", 0.5, 0.4, "x go", to_go("load-1000", responder_cpu, tls=False)),
        Bar("the same, responder + nginx", 0.6, None, "x go's sum", to_go("load-1000", cpu, tls=False)),
        *(Bar(f"CPU per token, {LOAD[name]}, responder", 0.45, None, "x go", to_go(name, responder_cpu, tls=False))
          for name in ("load-200", "load-50")),
        Bar("memory per open stream, responder, the worst", 14, None, "KiB", memory_per_stream(results, "ours")),
        Bar("idle RSS, responder", 12, None, "MiB", scaled(idle_figure(results, "ours", "rss_kib"), 1 / 1024)),
        Bar("added to the time to the first token, p99, one visitor", 250, None, "us", added(tls=False), ".0f"),
    ]
    for name in distances(results):
        warm = samples(results, name, "ours", "warm")
        for case in cases_of(results, name):
            figure = samples(results, name, "ours", case)
            if case != "warm":
                found.append(Bar(f"first token, page loaded 2 s before, round trip {round_trip(name)}, {case}", 1.1,
                                 None, "x warm", scaled(figure, 1 / warm.median) if warm else None))
    return found


def other_bars(results: Results) -> list[Bar]:
    def troubled(measure: str) -> Figure | None:
        """Streams lost and tokens late, in the worst run."""
        counts = [float(run["lost"] + run["late_over_1s"] + run["streams"] - run["opened"])
                  for run in results.runs(measure, "ours")]
        return exactly(max(counts, default=None))

    found = [
        Bar("CPU per token, 4 events in a read, responder", 0.5, None, "x unbatched",
            ratio(results.figure("batch", "ours", "processes", "responder", "cpu_us_per_token"),
                  results.figure("load-1000", "ours", "processes", "responder", "cpu_us_per_token"))),
    ]
    for name in ("load-50", "load-200"):
        found += [Bar(f"added latency {rank}, {LOAD[name]}", bar, 1.5, "x floor",
                      results.compared(name, ("ours", "floor"), latency_of(rank), quotient))
                  for rank, bar in (("p50", 2), ("p99", 2.5))]
    ramp = [step.get("responder") for _, step in ramp_steps(results)]
    half = len(ramp) // 2
    earlier, later = mean(ramp[:half]), mean(ramp[half:])
    found += [
        Bar(f"added latency p99, {LOAD['load-1000']}", 3, 1.5, "ms",
            scaled(results.figure("load-1000", "ours", "latency_us", "p99"), 1e-3)),
        Bar("9500 streams held: streams lost, tokens over 1 s late", 0, None, "", troubled("memory-9500"), ".0f"),
        Bar("20000 streams held: streams lost, tokens over 1 s late", 0, 0, "", troubled("hold-20000"), ".0f"),
        *(Bar(f"client close to upstream close, {phase}, p99", 5, 2, "ms",
              scaled(results.figure(f"cancel-{phase}", "ours", "close_us", "p99"), 1e-3))
          for phase in ("streaming", "between", "before")),
        Bar("non-streamed chat, responder", 60, 45, "us CPU",
            results.figure("requests-chat", "ours", "processes", "responder", "cpu_us_per_request")),
        Bar("ramp to 8000: CPU per new stream, second half", 1.25, None, "x first half",
            exactly(later / earlier if later is not None and earlier else None)),
        Bar("WORKERS=2: CPU of the busier loop", 1.2, None, "x the other's",
            results.of("load-1000", TWO, loop_balance)),
        Bar("WORKERS=2: CPU per token", 1.2, None, "x WORKERS=1",
            results.compared("load-1000", (TWO, "ours"), responder_cpu, quotient)),
        *(Bar(f"caps on: CPU per token, {LOAD[name]}, responder", 1.02, None, "x without a ledger",
              results.compared(name, (CAPS_ON, CAPS_OFF), responder_cpu, quotient))
          for name in ("load-1000", "load-200")),
    ]
    return found


def ratio(above: Figure | None, below: Figure | None) -> Figure | None:
    """Of figures of two measures, whose rounds are not neighbours: against the median."""
    return scaled(above, 1 / below.median) if above and below and below.median else None


def mean(numbers: Sequence[float | None]) -> float | None:
    there = [number for number in numbers if number is not None]
    return statistics.fmean(there) if there else None


BARS = ["figure", "bar", "beyond", "measured", ""]


def first_bars_section(results: Results) -> str:
    return ("## The bars\n\nA bar is for the median. What is compared with another contender is compared within each"
            " round; shown are the median, the minimum and the maximum of the rounds. A first token is compared with"
            " the median of the warm ones.\n\n"
            + table(BARS, [bar.cells() for bar in first_bars(results)]))


def other_bars_section(results: Results) -> str | None:
    bars = other_bars(results)
    if all(bar.measured is None for bar in bars):
        return None
    return "## Further bars\n\n" + table(BARS, [bar.cells() for bar in bars])


def setting(results: Results) -> str:
    machine = "; ".join(results.raw["machine"].values())
    versions = ", ".join(f"{name} {version}" for name, version in results.raw["versions"].items())
    rounds = results.raw["rounds"]
    spread = f"Medians of {rounds} rounds, minimum and maximum in parentheses." if rounds > 1 else "One round."
    load = f"load average {results.raw['load_average']:.1f} before the run"
    return (f"`{results.raw['command']}`, {results.raw['date']}. {machine}; {load}. {versions}. Everything on loopback"
            f" of one machine, load generator and upstream included. {spread} Only ratios within one run mean anything.\n")


EXPLAINED = {
    "floor": "nginx alone (`proxy_pass`)", "ours": "**bailian-fcgi**", "stub": "FastCGI stub, no upstream",
    "go": "Go `net/http` relay", "php": "PHP-FPM with cURL",
}


def explained(row: str) -> str:
    """The plain rows say so: TLS is the usual case."""
    name = row.removesuffix(OVER_TLS)
    plain = ", plain upstream" if name == row and row != "stub" else ""
    return EXPLAINED.get(name, name) + plain


def compared_rows(results: Results, measure: str) -> list[str]:
    """One for each contender and upstream: TLS first."""
    rows = [row for row in results.rows(measure) if row not in (NEVER, TWO, CAPS_ON, CAPS_OFF)]
    return sorted(rows, key=lambda row: not row.endswith(OVER_TLS))


def readme(results: Results, chart: str) -> str:
    memory = (results.measured("memory-") or [""])[0]
    lines = [[explained(row), *results.cpu("load-1000", row),
              *results.milliseconds("load-1000", row, "latency_us", "p50", "p99"), *results.memory(memory, row)]
             for row in compared_rows(results, "load-1000")]
    head = ["1000 streams x 20 tokens/s, TLS to the upstream", "CPU us/token", "its nginx", "added latency p50, ms",
            "p99, ms", "memory/stream, KiB", "its nginx"]
    bars = table(BARS, [bar.cells() for bar in first_bars(results)])
    return (table(head, lines) + f"\n![CPU per token by contender]({chart})\n\n" + bars + "\n" + setting(results))


OVERVIEW = {
    "en": (["", "CPU per token", "memory per stream"], "no TLS to DashScope", "Go `net/http` relay",
           "PHP-FPM with cURL"),
    "zh-CN": (["", "每个 token 的 CPU", "每路流的内存"], "与 DashScope 之间不用 TLS", "Go `net/http` 转发程序", "PHP-FPM 加 cURL"),
}


def overview(results: Results, language: str) -> str:
    """The table on the first page of the repository."""
    head, plain, go, php = OVERVIEW[language]
    names = {"ours": "**bailian-fcgi**", "go": go, "php": php}
    memory = (results.measured("memory-") or [""])[0]
    lines = []
    for row in compared_rows(results, "load-1000"):
        name = row.removesuffix(OVER_TLS)
        if name in names and (name == "ours" or name != row):
            cells = [results.median("load-1000", row, "processes", "responder", "cpu_us_per_token"),
                     results.median(memory, row, "processes", "responder", "pss_per_stream_kib")]
            comma = "，" if language == "zh-CN" else ", "
            lines.append([names[name] + (comma + plain if name == row else ""),
                          *(NOT_AVAILABLE if cell is None else f"{cell:.1f} {unit}"
                            for cell, unit in zip(cells, ("us", "KiB")))])
    return table(head, lines)


def chart_bars(results: Results, measure: str, paths: Sequence[Sequence[str]], scale: float) -> list[charts.Bars]:
    found = []
    for row in compared_rows(results, measure):
        values = [results.median(measure, row, *path) for path in paths]
        if any(value is not None for value in values):
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
    sections = [first_bars_section, load_section, memory_section, idle_section, visits_section, distance_section,
                held_section, requests_section, cancel_section, ramp_section, moderation_section, workers_section,
                caps_section, micro_section, other_bars_section]
    written = [text for section in sections if (text := section(results)) is not None]
    text = "\n".join(["# Benchmark\n", setting(results), *written])
    (out / "report.md").write_text(text)
    (out / "readme.md").write_text(readme(results, "cpu.svg"))
    (out / "overview.md").write_text(overview(results, "en"))
    (out / "overview.zh-CN.md").write_text(overview(results, "zh-CN"))
    for fault in write_charts(results, out):
        print(f"report: {fault}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"{__doc__}")
    source = Path(sys.argv[1])
    write(json.loads(source.read_text()), source.parent)
