#!/usr/bin/env -S python3 -B
"""Measures the time to the first token at a distance: over a link with a round-trip time.

    usage: unshare --net --mount first_token.py BUILD WORK DISTANCE      bench.py calls it

DISTANCE is a plan.Distance as JSON. In the network of its own, bench_link makes an interface through which each packet
takes half the round trip, and the upstream is reached only through it, by a name that a name server behind the link
resolves. So the lookup of the name costs a round trip, and so do the TCP handshake, the TLS handshake and the
request. Prints one JSON object. Exit codes: 0 measured, 69 the link or the upstream can't be set up here.
"""

import contextlib
import json
import resource
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import plan
from contender import Contender, Process, Running, Setup, TlsEnd, Unavailable, running, running_upstream, stopped_at_end

INTERFACE = "link0"
HERE = "10.77.0.1"  # servers listen here
THERE = "10.77.0.2"  # and are reached here, through the link
HOST = "upstream.test"
STAGGER_SECONDS = 0.25  # between the questions to two sites
LOAD_SECONDS = 120.0


class NameServer(threading.Thread):
    """Answers each question for an IPv4 address with that of the upstream, and others with "none"."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HERE, 53))

    def run(self) -> None:
        while True:
            query, client = self._socket.recvfrom(1500)
            with contextlib.suppress(ValueError):
                self._socket.sendto(reply_to(query), client)


def reply_to(query: bytes) -> bytes:
    """Raises ValueError."""
    end = query.index(b"\0", 12) + 5  # behind the name, the type and the class
    question = query[12:end]
    is_ipv4 = question[-4:] == b"\0\1\0\1"
    header = query[:2] + b"\x81\x80" + b"\0\1" + (b"\0\1" if is_ipv4 else b"\0\0") + b"\0\0\0\0"
    answer = b"\xc0\x0c\0\1\0\1" + (60).to_bytes(4, "big") + b"\0\4" + socket.inet_aton(THERE)
    return header + question + (answer if is_ipv4 else b"")


def command(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(words)}: {done.stderr.strip()}")


@contextlib.contextmanager
def linked(build: Path, work: Path, round_trip_ms: int) -> Iterator[None]:
    """The link is up, and names are looked up behind it."""
    command("ip", "link", "set", "lo", "up")
    process = Process("link", [str(build / "bench_link"), INTERFACE, str(round_trip_ms)], work)
    with stopped_at_end(process):
        process.wait_until(lambda: "ready" in process.log.read_text())
        command("ip", "address", "add", f"{HERE}/30", "dev", INTERFACE)
        command("ip", "link", "set", INTERFACE, "up")
        for path, text in (("/etc/resolv.conf", f"nameserver {THERE}\n"), ("/etc/nsswitch.conf", "hosts: files dns\n")):
            ours = work / Path(path).name
            ours.write_text(text)
            command("mount", "--bind", str(ours), path)
        NameServer().start()
        yield


def connect_ms(url: str) -> float:
    """How long a TCP connection to the upstream takes: the link's round trip, measured."""
    taken = []
    for _ in range(5):
        start = time.monotonic()
        socket.create_connection((THERE, urlsplit(url).port or 443), timeout=10).close()
        taken.append((time.monotonic() - start) * 1000)
    return statistics.median(taken)


@dataclass
class Visits:
    """The visits to one site, on a thread of their own."""

    row: str
    number: int
    schedule: list[int]
    site: Running
    build: Path
    stop: threading.Event
    cases: dict[str, list[float]] = field(default_factory=dict)  # us until the first token
    error: str | None = None

    def make(self, start_after: float) -> None:
        try:
            self._pause(start_after)
            self._ask("cold", with_page=True)
            for idle in self.schedule:
                self._ask("warm", with_page=False)
                self._pause(idle - plan.PAGE_SECONDS)
                self._ask(f"idle {idle} s", with_page=True)
            self._ask("warm", with_page=False)
            self.site.check()
        except Unavailable as why:
            self.error = str(why)

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Unavailable("stopped")

    def _ask(self, case: str, *, with_page: bool) -> None:
        """Several questions without a page: the median."""
        site = f"http://127.0.0.1:{self.site.port}"
        words = [str(self.build / "bench_load"), "visits", f"--url={site}{plan.STREAM_PATH}", "--warmup=0"]
        if with_page:
            words += ["--count=1", f"--page={site}{plan.CONFIG_PATH}", f"--pause={plan.PAGE_SECONDS}"]
        else:
            words += [f"--count={plan.WARM_QUESTIONS}"]
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=LOAD_SECONDS)
        except subprocess.TimeoutExpired as timeout:
            raise Unavailable(f"{case}: not answered after {timeout.timeout:.0f} s") from timeout
        if done.returncode != 0:
            raise Unavailable(f"{case}: not answered {done.stderr.strip()}")
        self.cases.setdefault(case, []).append(json.loads(done.stdout)["first_token_us"]["p50"])


def visit_all(distance: plan.Distance, build: Path, work: Path) -> dict[str, Any]:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    contenders = Contender.all()
    stop = threading.Event()
    with contextlib.ExitStack() as stack:
        stack.enter_context(linked(build, work, distance.round_trip_ms))
        upstream = stack.enter_context(running_upstream(build, work, files, TlsEnd(HERE, HOST)))
        measured_ms = connect_ms(upstream.tls_url)
        if measured_ms < distance.round_trip_ms:
            raise Unavailable(f"the link takes {measured_ms:.1f} ms")
        all_visits, failed = [], []
        for number, schedule in enumerate(distance.schedules, 1):
            for row in distance.rows:
                of = plan.row_of(row)
                setup = Setup(contenders[of.contender], of.workers, tls=True, settings=of.settings)
                folder = work / f"{len(all_visits)}-{of.contender}"
                try:
                    site = stack.enter_context(running(setup, upstream, build, folder, files))
                    all_visits.append(Visits(row, number, list(schedule), site, build, stop))
                except Unavailable as why:
                    failed.append({"row": row, "number": number, "cases": {}, "error": str(why)})
        threads = [threading.Thread(target=visits.make, args=(i * STAGGER_SECONDS,), daemon=True)
                   for i, visits in enumerate(all_visits)]
        stack.callback(stop.set)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sites = [{key: value for key, value in vars(visits).items() if key in ("row", "number", "cases", "error")}
             for visits in all_visits]
    return {"connect_ms": measured_ms, "sites": sites + failed}


def terminated(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 64
    build, work = Path(sys.argv[1]), Path(sys.argv[2])
    distance = plan.Distance(**json.loads(sys.argv[3]))
    signal.signal(signal.SIGTERM, terminated)
    work.mkdir(parents=True, exist_ok=True)
    try:
        print(json.dumps(visit_all(distance, build, work)))
    except (Unavailable, OSError) as why:
        print(why, file=sys.stderr)
        return 69
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
