#!/usr/bin/env -S python3 -B
"""Measures bailian-fcgi and its alternatives in one run on this machine.

Writes results.json, report.md, readme.md and charts into build/bench. Exit codes: 0 measured, 1 bailian-fcgi failed
in one of the runs, 64 bad usage, 66 a program is missing, 69 the simulator does not start, 130 stopped by Ctrl-C (what
was measured is reported).
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import machine
import plan
import report
from contender import HERE, SOURCE, Contender, Running, Setup, Unavailable, Upstream, running, running_upstream

OUT = SOURCE / "build" / "bench"
SPARE_FILES = 100
QUIET_LOAD = 0.5


@dataclass(frozen=True)
class Run:
    measure: str
    row: str
    round: int
    result: dict[str, Any] | None
    error: str | None
    skipped: bool  # the machine or the contender can't do it; else an error is a failure


@dataclass(frozen=True)
class Job:
    measure: plan.Measure
    row: str
    round: int


class Bench:
    def __init__(self, build: Path, upstream: Upstream, contenders: dict[str, Contender], files: int) -> None:
        self.build = build
        self.upstream = upstream
        self.contenders = contenders
        self.files = files
        self.unavailable: dict[str, str] = {}
        for name, contender in contenders.items():
            try:
                contender.prepare(build)
            except Unavailable as why:
                self.unavailable[name] = str(why)

    def run(self, job: Job) -> Run:
        try:
            self._check_limits(job)
        except Unavailable as why:
            return Run(job.measure.name, job.row, job.round, None, str(why), skipped=True)
        try:
            return Run(job.measure.name, job.row, job.round, self._measure(job), None, skipped=False)
        except Unavailable as why:
            return Run(job.measure.name, job.row, job.round, None, str(why), skipped=False)

    def _measure(self, job: Job) -> dict[str, Any]:
        row = plan.row_of(job.row)
        contender = self.contenders[row.contender]
        setup = Setup(contender, row.workers, row.tls, row.settings)
        with running(setup, self.upstream, self.build, OUT / "run" / row.contender, self.files) as site:
            result = self._load(job.measure, row, contender, site)
        result["idle"] = site.idle
        if contender.worker_processes is not None and job.measure.mode == "streams":
            # The workers exist for the streams, so they count: everything beyond the first process.
            responder = result["processes"]["responder"]
            responder["pss_before_kib"] = site.idle["rss_kib"]
            growth = responder["pss_after_kib"] - responder["pss_before_kib"]
            responder["pss_per_stream_kib"] = growth / job.measure.streams
        self.upstream.wait_until_idle()
        return result

    def _check_limits(self, job: Job) -> None:
        measure, row = job.measure, plan.row_of(job.row)
        if (why := self.unavailable.get(row.contender)) is not None:
            raise Unavailable(why)
        contender = self.contenders[row.contender]
        workers = contender.worker_processes
        if workers is not None and measure.streams > workers:
            raise Unavailable(f"has {workers} workers, for a stream each")
        phases = contender.about.get("notices_close")
        if measure.mode == "cancel" and phases is not None and measure.options["phase"] not in phases.split():
            raise Unavailable("does not notice the close in this phase")
        if measure.mode == "cancel" and contender.about.get("upstream") == "no":
            raise Unavailable("has no upstream")
        # nginx, the responder and the TLS proxy need two for each stream.
        if (needed := 2 * measure.streams + SPARE_FILES) > self.files:
            raise Unavailable(f"needs {needed} open files in a process, and the limit here is {self.files}")
        ports = machine.local_ports()
        if measure.streams > ports:
            raise Unavailable(f"needs {measure.streams} local ports, ip_local_port_range has {ports}")

    def _load(self, measure: plan.Measure, row: plan.Row, contender: Contender,
              site: Running) -> dict[str, Any]:
        options = dict(measure.options)
        path = measure.path
        more = [*site.measure_arguments(), *(f"--header={header}" for header in row.headers)]
        if contender.about.get("dialect") == "dashscope":
            path = plan.DASHSCOPE_PATH
            more += ["--dialect=dashscope", *plan.DASHSCOPE_HEADERS]
        if measure.mode == "cancel":
            options["simulator"] = urlsplit(self.upstream.url).netloc
        command = [str(self.build / "bench_load"), measure.mode, f"--url=http://127.0.0.1:{site.port}{path}"]
        command += [f"--{name}={value}" for name, value in options.items()] + more
        # In its own session: Ctrl-C reaches only this program, which then stops the others in order.
        load = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *command], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            out, err = load.communicate(timeout=60 + 4 * measure.seconds)
        except subprocess.TimeoutExpired as timeout:
            raise Unavailable(f"not done after {timeout.timeout:.0f} s") from timeout
        finally:
            load.kill()
            load.wait()
        site.check()
        try:
            result: dict[str, Any] = json.loads(out)
        except json.JSONDecodeError:
            raise Unavailable(f"bench_load: exit code {load.returncode}: {' / '.join(err.splitlines()[-2:])}") from None
        result["failed"] = load.returncode != 0
        return result


class Distances:
    """The links with a round-trip time, side by side: most of the time, their sites are idle."""

    def __init__(self, distances: list[plan.Distance], build: Path, unavailable: dict[str, str]) -> None:
        self._unavailable = unavailable
        self._distances = distances
        self._build = build

    def run(self, progress: "Progress") -> list[Run]:
        runs = [Run(distance.name, row, 1, None, why, skipped=True) for distance in self._distances
                for row in distance.rows if (why := self._why_not(row)) is not None]
        with contextlib.ExitStack() as stack:
            started = [(distance, stack.enter_context(self._visits(distance))) for distance in self._distances
                       if self._rows(distance)]
            for distance, process in started:
                while True:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        out, err = process.communicate(timeout=30)
                        break
                    progress.tell()
                runs += self._runs(distance, process.returncode, out, err)
        return runs

    def _why_not(self, row: str) -> str | None:
        return self._unavailable.get(plan.row_of(row).contender)

    def _rows(self, distance: plan.Distance) -> tuple[str, ...]:
        return tuple(row for row in distance.rows if self._why_not(row) is None)

    @contextlib.contextmanager
    def _visits(self, distance: plan.Distance) -> Iterator[subprocess.Popen[str]]:
        work = OUT / "run" / distance.name
        described = json.dumps(asdict(replace(distance, rows=self._rows(distance))))
        # It sets up its own network, and stops what it has started.
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "unshare", "--net", "--mount", str(HERE / "first_token.py"),
             str(self._build), str(work), described],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()

    def _runs(self, distance: plan.Distance, code: int, out: str, err: str) -> list[Run]:
        if code != 0:
            why = " / ".join(err.splitlines()[-2:]) or f"exit code {code}"
            return [Run(distance.name, row, 1, None, why, skipped=True) for row in self._rows(distance)]
        said = json.loads(out)
        runs = []
        for site in said["sites"]:
            result = {"cases": site["cases"], "connect_ms": said["connect_ms"], "failed": False}
            runs.append(Run(distance.name, site["row"], site["number"], None if site["error"] else result,
                            site["error"], skipped=False))
        return runs


class Progress:
    """One line that is rewritten on a terminal; elsewhere one line for each run."""

    def __init__(self, jobs: list[Job], distances: list[plan.Distance]) -> None:
        self._jobs = jobs
        self._distances = distances
        self._start = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def show(self, done: int) -> None:
        job = self._jobs[done]
        left = sum(job.measure.seconds + 1 for job in self._jobs[done:]) + self._distant_seconds()
        line = (f"[{done + 1}/{len(self._jobs)}] {job.measure.name}: {job.row}, round {job.round}"
                f" ({minutes(time.monotonic() - self._start)} passed, about {minutes(left)} left)")
        self._say(line)

    def tell(self) -> None:
        """About the links."""
        names = ", ".join(distance.name for distance in self._distances)
        self._say(f"{names} ({minutes(time.monotonic() - self._start)} passed;"
                  f" they take about {minutes(self._distant_seconds())})")

    def _distant_seconds(self) -> float:
        return max((distance.seconds for distance in self._distances), default=0)

    def say(self, line: str) -> None:
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr)
        print(line, file=sys.stderr, flush=True)

    def _say(self, line: str) -> None:
        if self._terminal:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def in_turn(measures: list[plan.Measure], rounds: int) -> list[Job]:
    """Interleaved: all rows of a measure, then again in reverse order."""
    jobs = []
    for measure in measures:
        for number in range(1, rounds + 1):
            rows = measure.rows if number % 2 else reversed(measure.rows)
            jobs += [Job(measure, row, number) for row in rows]
    return jobs


def raise_file_limit() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 70000
    for limits in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            break
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


Measured = TypeVar("Measured", plan.Measure, plan.Distance)


def pick(things: list[Measured], starts: tuple[str, ...], names: list[str]) -> list[Measured]:
    """Those with such a name, with the rows of these contenders."""
    picked = []
    for thing in things:
        # A contender that is not in the plan is added to every measurement that includes Go.
        added = [name for name in names if name not in plan.ALL and "go" in thing.rows]
        added += [plan.over_tls(name) for name in added if plan.over_tls("go") in thing.rows]
        rows = (*(row for row in thing.rows if plan.row_of(row).contender in names), *added)
        if rows and thing.name.startswith(starts):
            picked.append(replace(thing, rows=rows))
    return picked


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="about three minutes: one round, short windows, fewer rows")
    parser.add_argument("--bars", action="store_true",
                        help="about 12 minutes: only what the bars on top of the report need")
    parser.add_argument("--rounds", type=int, help="of each measure (3; --quick: 1); not of first-token-30ms, -200ms")
    parser.add_argument("--only", metavar="MEASURE,...", help="measures whose names begin so, e.g. load,memory-1000")
    parser.add_argument("--contenders", metavar="NAME,...", help="files in contenders/ (all)")
    parser.add_argument("--build", type=Path, default=SOURCE / "build" / "release", help="where the programs are")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    return arguments


def chosen(arguments: argparse.Namespace, contenders: dict[str, Contender]) -> plan.Plan:
    whole = plan.quick() if arguments.quick else plan.bars_only() if arguments.bars else plan.full()
    starts = tuple(arguments.only.split(",")) if arguments.only else ("",)
    names = arguments.contenders.split(",") if arguments.contenders else list(contenders)
    if unknown := set(names) - set(contenders):
        sys.exit(usage(f"no such contender: {', '.join(sorted(unknown))}; there are {', '.join(contenders)}"))
    picked = plan.Plan(pick(whole.measures, starts, names), pick(whole.distances, starts, names))
    if not picked.measures and not picked.distances:
        sys.exit(usage("nothing to measure; see --help"))
    return picked


def usage(message: str) -> int:
    print(f"bench: {message}", file=sys.stderr)
    return 64


def measure_all(jobs: list[Job], distances: list[plan.Distance], arguments: argparse.Namespace,
                contenders: dict[str, Contender]) -> tuple[list[Run], bool]:
    """The runs, and whether all were made."""
    runs: list[Run] = []
    progress = Progress(jobs, distances)
    files = raise_file_limit()
    with running_upstream(arguments.build, OUT / "run", files) as upstream:
        bench = Bench(arguments.build, upstream, contenders, files)
        for name, why in bench.unavailable.items():
            progress.say(f"without {name}: {why}")
        try:
            for number, job in enumerate(jobs):
                progress.show(number)
                run = bench.run(job)
                runs.append(run)
                if run.error is not None:
                    progress.say(f"{job.measure.name}: {job.row}: n/a: {run.error}")
                elif run.result and run.result["failed"]:
                    progress.say(f"{job.measure.name}: {job.row}: {report.what_failed(run.result)}")
            if distances:
                progress.tell()
                for run in (distant := Distances(distances, arguments.build, bench.unavailable).run(progress)):
                    if run.error is not None:
                        progress.say(f"{run.measure}: {run.row}: n/a: {run.error}")
                runs += distant
        except KeyboardInterrupt:
            progress.say("stopped; reporting what was measured")
            return runs, False
    return runs, True


def micro_benchmarks(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Parsers and writers alone, as Google Benchmark reports them."""
    if arguments.bars or (arguments.only and not "micro".startswith(tuple(arguments.only.split(",")))):
        return []
    command = [str(arguments.build / "bench_micro"), "--benchmark_format=json",
               f"--benchmark_min_time={0.05 if arguments.quick else 0.5}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)["benchmarks"]
    return found


def terminated(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    arguments = parse_arguments()
    arguments.build = arguments.build.resolve()
    for program in ("bailian-fcgi", "simulator", "bench_load", "bench_stub", "bench_link", "bench_micro"):
        if not os.access(arguments.build / program, os.X_OK):
            print(f"bench: {arguments.build / program} is missing: run make bench", file=sys.stderr)
            return 66
    signal.signal(signal.SIGTERM, terminated)
    contenders = Contender.all()
    picked = chosen(arguments, contenders)
    jobs = in_turn(picked.measures, arguments.rounds)
    taking_part = {plan.row_of(row).contender for thing in (*picked.measures, *picked.distances) for row in thing.rows}
    contenders = {name: contender for name, contender in contenders.items() if name in taking_part}
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    facts: dict[str, Any] = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": os.environ.get("BENCH_COMMAND", " ".join(["tests/bench/bench.py", *sys.argv[1:]])),
        "rounds": arguments.rounds,
        "machine": machine.describe(),
        "versions": machine.versions(arguments.build),
        "load_average": os.getloadavg()[0],
    }
    if facts["load_average"] > QUIET_LOAD:
        print(f"bench: this machine is busy (load average {facts['load_average']:.1f}): the figures will be poor",
              file=sys.stderr)
    try:
        runs, is_whole = measure_all(jobs, picked.distances, arguments, contenders)
    except Unavailable as why:
        print(f"bench: {why}", file=sys.stderr)
        return 69
    results = facts | {"runs": [asdict(run) for run in runs],
                       "micro": micro_benchmarks(arguments)}
    (OUT / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    report.write(results, OUT)
    print(f"report: {(OUT / 'report.md').relative_to(SOURCE)}", file=sys.stderr)
    if not is_whole:
        return 130
    ours = [run for run in runs if plan.row_of(run.row).contender == "ours" and not run.skipped]
    return 1 if any(run.result is None or run.result["failed"] for run in ours) else 0


if __name__ == "__main__":
    sys.exit(main())
