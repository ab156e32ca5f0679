"""The processes of a benchmark: the simulator, the TLS proxy in front of it, and a contender behind its own nginx."""

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
SYSTEM_CAS = Path("/etc/ssl/certs/ca-certificates.crt")
START_SECONDS = 20.0
STOP_SECONDS = 10.0


class Unavailable(Exception):
    """Something cannot be measured on this machine; the message says why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tail_of(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return " / ".join(lines[-3:])


def family_of(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    family = [pid]
    for member in family:
        family += children.get(member, [])
    return family


def memory_kib(pids: list[int], file: str, field_name: str) -> int:
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
                if line.startswith(field_name + ":"):
                    total += int(line.split()[1])
    return total


class Process:
    """A process of its own session, with its output in a log; the kernel ends it when this program dies."""

    def __init__(self, name: str, command: list[str], work: Path, environment: dict[str, str] | None = None) -> None:
        self.name = name
        self.log = work / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command],
                cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        if (code := self._process.poll()) is not None:
            raise Unavailable(f"{self.name} ended with exit code {code}: {tail_of(self.log)}")

    def wait_until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.name} is not ready after {START_SECONDS:.0f} s: {tail_of(self.log)}")
            time.sleep(0.01)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def listens(path: Path) -> bool:
    """Asks the kernel: a connection would make some contenders start a worker."""
    listening = "00010000"
    sockets = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
    return any(entry[-1] == str(path) and entry[3] == listening for entry in sockets)


@contextlib.contextmanager
def stopped_at_end(process: Process) -> Iterator[Process]:
    try:
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def nginx(contents: str, workers: int, files: int, work: Path) -> Iterator[Process]:
    text = (HERE / "nginx.conf.in").read_text()
    for word, value in {"@WORKERS@": str(workers), "@FILES@": str(files), "@CONTENDER@": contents}.items():
        text = text.replace(word, value)
    (work / "nginx.conf").write_text(text)
    shutil.copy("/etc/nginx/fastcgi_params", work)
    binary = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if binary is None:
        raise Unavailable("nginx is not installed")
    command = [binary, "-p", str(work), "-c", "nginx.conf"]
    with stopped_at_end(Process("nginx-start", command, work)) as process:
        # The master process listens before it starts its workers.
        process.wait_until(lambda: len(family_of(process.pid)) == 1 + workers)
        yield process


@dataclass(frozen=True)
class Upstream:
    """The simulator, as contenders see it."""

    url: str
    tls_url: str
    ca_bundle: Path

    def wait_until_idle(self) -> None:
        control = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            control.request("GET", "/control/stats?wait=open&at_most=0&timeout_ms=30000")
            answer = control.getresponse()
            figures = answer.read().decode()
        except OSError as error:
            raise Unavailable(f"the simulator does not answer: {error}") from error
        finally:
            control.close()
        if answer.status != 200:
            raise Unavailable(f"the simulator still has open streams: {figures}")


TLS_END = """
upstream simulator {{
    server {simulator};
    keepalive 128;
}}
server {{
    listen {address}:{port} ssl backlog=4096;
    ssl_certificate cert.pem;
    ssl_certificate_key key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:10m;
    keepalive_timeout 60s;
    location / {{
        proxy_pass http://simulator;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_buffering off;
        proxy_read_timeout 310s;
    }}
}}
"""


@dataclass(frozen=True)
class TlsEnd:
    """Where the TLS proxy listens, and the name in the contenders' URL."""

    address: str = "127.0.0.1"
    host: str = "127.0.0.1"


def make_certificate(work: Path, host: str) -> Path:
    names = "DNS:localhost," + (f"IP:{host}" if host[-1].isdigit() else f"DNS:{host}")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
               "-addext", f"subjectAltName={names}", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=work, check=True, capture_output=True)
    # In addition to the system's roots, as in production: the bundle is read and kept in memory.
    bundle = work / "bundle.pem"
    bundle.write_text(SYSTEM_CAS.read_text() + (work / "cert.pem").read_text())
    return bundle


@contextlib.contextmanager
def running_upstream(build: Path, work: Path, files: int, end: TlsEnd = TlsEnd()) -> Iterator[Upstream]:
    with contextlib.ExitStack() as stack:
        simulator_dir, tls_dir = work / "simulator", work / "tls"
        simulator_dir.mkdir(parents=True)
        tls_dir.mkdir(parents=True)
        command = [str(build / "simulator"), "--listen", "127.0.0.1:0"]
        simulator = stack.enter_context(stopped_at_end(Process("simulator", command, simulator_dir)))
        greeting = re.compile(r"listening on (http://\S+)\n")
        simulator.wait_until(lambda: greeting.search(simulator.log.read_text()) is not None)
        url = greeting.findall(simulator.log.read_text())[0]
        bundle = make_certificate(tls_dir, end.host)
        port = free_port()
        server = TLS_END.format(simulator=urlsplit(url).netloc, address=end.address, port=port)
        stack.enter_context(nginx(server, 1, files, tls_dir))
        yield Upstream(url, f"https://{end.host}:{port}", bundle)


@dataclass(frozen=True)
class Contender:
    """A script in `contenders/`; the README describes its interface."""

    name: str
    script: Path
    about: dict[str, str] = field(compare=False)

    @staticmethod
    def all() -> dict[str, "Contender"]:
        found = {}
        for script in sorted((HERE / "contenders").glob("*.sh")):
            said = subprocess.run([script, "about"], check=True, capture_output=True, text=True).stdout
            about = dict(line.split(maxsplit=1) for line in said.splitlines())
            found[script.stem] = Contender(script.stem, script, about)
        return found

    @property
    def has_responder(self) -> bool:
        return self.about.get("responder") == "yes"

    @property
    def worker_processes(self) -> int | None:
        """Set when a worker serves one stream at a time."""
        return int(self.about["workers"]) if "workers" in self.about else None

    def prepare(self, build: Path) -> None:
        """Raises Unavailable when the contender cannot run here."""
        environment = os.environ | {"BUILD": str(build), "SOURCE": str(SOURCE)}
        done = subprocess.run([self.script, "prepare"], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable(" / ".join(done.stderr.splitlines()[-3:]) or f"exit code {done.returncode}")


@dataclass(frozen=True)
class Setup:
    """How a contender is started, for one row of the report."""

    contender: Contender
    workers: int = 1
    tls: bool = False
    settings: dict[str, str] = field(default_factory=dict)


class Running:
    """A running contender with its nginx."""

    def __init__(self, port: int, responder: Process | None, front: Process) -> None:
        self.port = port
        self._responder = responder
        self._front = front
        self.idle = {
            # Shared memory counts for each process: this is exact for a single process.
            "rss_kib": memory_kib(self.responder_pids()[:1], "status", "VmRSS"),
            "pss_kib": memory_kib(self.responder_pids(), "smaps_rollup", "Pss"),
        }

    def responder_pids(self) -> list[int]:
        return [] if self._responder is None else family_of(self._responder.pid)

    def measure_arguments(self) -> list[str]:
        groups = {"nginx": family_of(self._front.pid), "responder": self.responder_pids()}
        return [f"--measure={name}={','.join(map(str, pids))}" for name, pids in groups.items() if pids]

    def check(self) -> None:
        self._front.check()
        if self._responder is not None:
            self._responder.check()


@contextlib.contextmanager
def running(setup: Setup, upstream: Upstream, build: Path, work: Path, files: int) -> Iterator[Running]:
    """New processes in a new directory, which is kept."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        # The path of a unix socket has at most 107 bytes.
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        port = free_port()
        environment: dict[str, Any] = os.environ | setup.settings | {
            "BUILD": str(build), "SOURCE": str(SOURCE), "SOCKET": str(sockets / "s"),
            "LISTEN": f"127.0.0.1:{port} backlog=4096", "WORKERS": str(setup.workers),
            "UPSTREAM": upstream.tls_url if setup.tls else upstream.url, "CA_BUNDLE": str(upstream.ca_bundle),
        }
        responder = None
        if setup.contender.has_responder:
            command = [str(setup.contender.script), "responder"]
            responder = stack.enter_context(stopped_at_end(Process("responder", command, work, environment)))
            responder.wait_until(lambda: listens(sockets / "s"))
            family_size = 1 + (setup.contender.worker_processes or 0)
            responder.wait_until(lambda: len(family_of(responder.pid)) >= family_size)
        contents = subprocess.run([setup.contender.script, "nginx"], env=environment, check=True, capture_output=True,
                                  text=True).stdout
        front = stack.enter_context(nginx(contents, setup.workers, files, work))
        yield Running(port, responder, front)
