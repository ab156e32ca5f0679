#!/usr/bin/env python3
"""Hundreds of mixed visitors against one responder whose upstream misbehaves.

Samples its memory, descriptors and threads every second, checks every good answer byte for byte, and writes
build/soak/report.md with a chart. Exit codes: 0 flat and nothing wrong, 1 not so, 64 bad usage, 69 a program does not
start, 130 Ctrl-C.
"""

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "bench"))

import visitors  # noqa: E402
from contender import Process, Unavailable, free_port, listens, nginx, stopped_at_end, tail_of  # noqa: E402

OUT = SOURCE / "build" / "soak"
KEY = "sk-soak-0123456789abcdef"
SETTINGS = {
    "DASHSCOPE_API_KEY": KEY, "APP_ID": "soak", "DEBUG": "False", "LOG_FORMAT": "json", "WORKERS": "2",
    "CONNECT_TIMEOUT": "2", "FIRST_TOKEN_TIMEOUT": "3", "IDLE_TIMEOUT": "3", "TIMEOUT": "40", "HEARTBEAT": "1",
    "CLIENT_STALL_TIMEOUT": "4", "MAX_STREAMS": "2000",
}
WARM_UP = 1 / 3  # of the time


@dataclass(frozen=True)
class Sample:
    seconds: float
    rss_kib: int
    files: int
    threads: int
    visits: int
    under_way: int


def look_at(pid: int, start: float, site: visitors.Site) -> Sample:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return Sample(time.monotonic() - start, int(status["VmRSS"].split()[0]), len(os.listdir(f"/proc/{pid}/fd")),
                  int(status["Threads"]), sum(site.tally.values()), site.under_way)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def slope(xs: list[float], ys: list[float]) -> float:
    """The slope of the best-fitting line."""
    x, y = mean(xs), mean(ys)
    spread = sum((one - x) ** 2 for one in xs)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys)) / spread if spread else 0.0


@dataclass(frozen=True)
class Curve:
    name: str
    second_third: float
    last_third: float
    per_minute: float
    may_grow: float

    @property
    def is_flat(self) -> bool:
        return self.last_third - self.second_third <= self.may_grow


def curves(samples: list[Sample]) -> list[Curve]:
    """Compares the last third of the time with the second. The first is for warming up."""
    def curve(name: str, values: list[float], may_grow: float, of: Callable[[list[float]], float] = mean) -> Curve:
        third = len(values) // 3
        second, last = values[third:2 * third], values[2 * third:]
        minutes = [sample.seconds / 60 for sample in samples[third:]]
        return Curve(name, of(second), of(last), slope(minutes, values[third:]), may_grow)

    rss = [sample.rss_kib / 1024 for sample in samples]
    files = [float(sample.files) for sample in samples]
    # The heap grows and shrinks by several MiB at a time: a leak shows in its peaks. Descriptors depend on the
    # visitors, who are random.
    return [curve("RSS, peak, MiB", rss, 0.05 * max(rss), max), curve("descriptors, mean", files, 0.1 * mean(files)),
            curve("threads, mean", [float(sample.threads) for sample in samples], 0.5)]


@contextlib.contextmanager
def simulator(build: Path, work: Path):  # type: ignore[no-untyped-def]
    work.mkdir(parents=True)
    command = [str(build / "simulator"), "--listen", "127.0.0.1:0", "--api-key", KEY, "--interval", "20", "--delay", "20"]
    with stopped_at_end(Process("simulator", command, work)) as process:
        greeting = "listening on "
        process.wait_until(lambda: greeting in process.log.read_text())
        yield process.log.read_text().partition(greeting)[2].split()[0]


class Progress:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._terminal = sys.stderr.isatty()
        self._last = 0.0

    def show(self, sample: Sample, wrong: int) -> None:
        if not self._terminal and sample.seconds - self._last < 30:
            return
        self._last = sample.seconds
        line = (f"{clock(sample.seconds)} of {clock(self._seconds)}: {sample.visits} visits, {sample.under_way} under way, "
                f"{wrong} wrong, {sample.rss_kib / 1024:.1f} MiB, {sample.files} descriptors, {sample.threads} threads")
        print(f"\r\033[K{line}" if self._terminal else line, end="" if self._terminal else "\n", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


async def soak(site: visitors.Site, responder: Process, seconds: float, count: int) -> list[Sample]:
    start = time.monotonic()
    samples: list[Sample] = []
    progress = Progress(seconds)
    crowd = {asyncio.create_task(visitors.visit_until_closed(site)) for _ in range(count)}
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        while time.monotonic() - start < seconds and not stop.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), 1)
            responder.check()
            for visitor in crowd:
                if visitor.done():
                    visitor.result()
            samples.append(look_at(responder.pid, start, site))
            progress.show(samples[-1], len(site.wrong))
    finally:
        # Before Python 3.12 wait_for() may lose a cancellation, so once is not enough.
        site.closed = True
        while crowd:
            for visitor in crowd:
                visitor.cancel()
            _, crowd = await asyncio.wait(crowd, timeout=1)
        print(file=sys.stderr)
    return samples


def chart(samples: list[Sample], file: Path) -> None:
    rows = "\n".join(f"{s.seconds / 60:.3f} {s.rss_kib / 1024:.2f} {s.files} {s.threads} {s.under_way}" for s in samples)
    # A white background, because the page may be dark.
    script = f"""
set terminal svg size 900,560 font 'sans-serif,13' background '#ffffff'
set output '{file}'
$data << EOD
{rows}
EOD
set multiplot layout 2,1 title 'Soak: {clock(samples[-1].seconds)} minutes, {samples[-1].visits} visits'
set grid linecolor rgb '#e2e8f0' linetype 1
set border 3 linecolor rgb '#475569'
set tics nomirror
set key above
set yrange [0:*]
set ylabel 'MiB'
plot $data using 1:2 with lines linewidth 2 linecolor rgb '#2563eb' title 'RSS'
set ylabel 'count'
set xlabel 'minutes'
plot $data using 1:3 with lines linecolor rgb '#2563eb' title 'descriptors', \\
     $data using 1:5 with lines linecolor rgb '#94a3b8' title 'visitors under way', \\
     $data using 1:4 with lines linewidth 2 linecolor rgb '#dc2626' title 'threads'
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def report(site: visitors.Site, samples: list[Sample], faults: list[str]) -> str:
    last = samples[-1]
    lines = [f"# Soak\n\n{clock(last.seconds)} minutes, {last.visits} visits, {len(site.wrong)} wrong answers.\n",
             "| | second third | last third | a minute | flat |", "|---|---|---|---|---|"]
    for one in curves(samples):
        lines.append(f"| {one.name} | {one.second_third:.2f} | {one.last_third:.2f} | {one.per_minute:+.4f} | "
                     f"{'yes' if one.is_flat else 'NO'} |")
    lines += ["\n![RSS, descriptors and threads over time](soak.svg)\n", "| visitors | count |", "|---|---|"]
    lines += [f"| {what} | {count} |" for what, count in sorted(site.tally.items())]
    if faults:
        lines += ["\n## Faults\n", *(f"- {fault}" for fault in faults[:50])]
    return "\n".join(lines) + "\n"


def run(arguments: argparse.Namespace) -> int:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        fastcgi = str(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-"))) / "s")
        upstream = stack.enter_context(simulator(arguments.build, OUT / "simulator"))
        environment = {"PATH": os.environ["PATH"], "DASHSCOPE_BASE_URL": f"{upstream}/api/v1", **SETTINGS}
        command = [str(arguments.build / "bailian-fcgi"), "--env-file", "/dev/null", "--listen", fastcgi]
        responder = stack.enter_context(stopped_at_end(Process("responder", command, OUT, environment)))
        responder.wait_until(lambda: listens(Path(fastcgi)))
        port = free_port()
        include = (SOURCE / "nginx" / "bailian-fcgi.conf").read_text()
        before, _, behind = include.partition("unix:")
        include = f"{before}unix:{fastcgi}{behind[behind.index(';'):]}"
        (OUT / "nginx").mkdir()
        stack.enter_context(nginx(f"server {{ listen 127.0.0.1:{port} backlog=4096;\n{include}\n}}", 2, 65536, OUT / "nginx"))
        site = visitors.Site(port, fastcgi, random.Random(arguments.seed))
        samples = asyncio.run(soak(site, responder, arguments.minutes * 60, arguments.visitors))
        if len(samples) < 30:
            print("soak: too short to say anything", file=sys.stderr)
            return 130
        faults = list(site.wrong) + [f"{one.name} grew" for one in curves(samples) if not one.is_flat]
        responder.stop()
        if KEY in responder.log.read_text(errors="replace"):
            faults.append("the key is in the log")
        if '"stopped"' not in tail_of(responder.log):
            faults.append(f"the responder did not end by itself: {tail_of(responder.log)}")
        chart(samples, OUT / "soak.svg")
        columns = "seconds rss_kib files threads visits under_way".split()
        (OUT / "samples.tsv").write_text("\n".join(
            ["\t".join(columns), *("\t".join(str(getattr(sample, column)) for column in columns) for sample in samples)]) + "\n")
        text = report(site, samples, faults)
        (OUT / "report.md").write_text(text)
        print(text)
        print(f"report: {(OUT / 'report.md').relative_to(SOURCE)}", file=sys.stderr)
        return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--visitors", type=int, default=300, help="at once (300)")
    parser.add_argument("--seed", type=int, default=1, help="of their dice (1)")
    parser.add_argument("--build", type=Path, default=SOURCE / "build" / "release", help="where the programs are")
    arguments = parser.parse_args()
    arguments.build = arguments.build.resolve()
    try:
        return run(arguments)
    except Unavailable as why:
        print(f"soak: {why}", file=sys.stderr)
        return 69


if __name__ == "__main__":
    sys.exit(main())
