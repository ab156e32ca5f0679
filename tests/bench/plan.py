"""What is measured: which contenders, under which load."""

from collections.abc import Sequence
from dataclasses import dataclass, field

STREAM_PATH = "/myapi/v1/chat-bot/stream"
DASHSCOPE_PATH = "/api/v1/apps/bench/completion"
DASHSCOPE_HEADERS = ("--header=Authorization: Bearer sk-bench", "--header=X-DashScope-SSE: enable")


@dataclass(frozen=True)
class Row:
    """A contender and the way it is set up."""

    contender: str
    workers: int = 1
    tls: bool = False
    settings: dict[str, str] = field(default_factory=dict)
    headers: tuple[str, ...] = ()  # {n}: the number of the stream


CHAT_BODY = '{"last_prompt":"[[sim delay=0 interval=0 events=20]] hi"}'
RELAYS = ("ours", "go", "php")
ALL = ("floor", "ours", "stub", "go", "php")
NEVER = "ours, TOKEN_COALESCE=0"
TWO = "ours, WORKERS=2"
NO_WARM_UP = "ours, WARM_UP=off"
CAPS_ON = "ours, CAP_DAY_TOKENS=1000000000000"
CAPS_OFF = "ours, LEDGER="
KEYED = "ours, Idempotency-Key"
OVER_TLS = ", TLS upstream"

ROWS = {
    NEVER: Row("ours", settings={"TOKEN_COALESCE": "0"}),
    TWO: Row("ours", workers=2),
    NO_WARM_UP: Row("ours", settings={"WARM_UP": "off"}),
    CAPS_ON: Row("ours", settings={"CAP_DAY_TOKENS": "1000000000000"}),
    CAPS_OFF: Row("ours", settings={"LEDGER": ""}),
    KEYED: Row("ours", headers=("Idempotency-Key: bench-{n}",)),
}


def over_tls(row: str) -> str:
    return row + OVER_TLS


def row_of(name: str) -> Row:
    if name.endswith(OVER_TLS):
        return Row(name.removesuffix(OVER_TLS), tls=True)
    return ROWS.get(name, Row(name))


def both(*rows: str) -> tuple[str, ...]:
    """Each with a TLS upstream, then each with a plain one. The stub has no upstream."""
    return (*(over_tls(row) for row in rows if row != "stub"), *rows)


@dataclass(frozen=True)
class Measure:
    name: str
    rows: tuple[str, ...]
    mode: str  # of bench_load
    options: dict[str, str]
    path: str = STREAM_PATH
    streams: int = 0
    seconds: float = 0  # about how long a run takes


def streams(name: str, rows: tuple[str, ...], count: int, interval_ms: int, window: tuple[float, float],
            **more: str) -> Measure:
    warm_up, seconds = window
    rate = float(more.get("open-rate", min(1000, count)))
    options = {"streams": str(count), "interval": str(interval_ms), "open-rate": f"{rate:.0f}",
               "warmup": str(warm_up), "seconds": str(seconds)} | more
    return Measure(name, rows, "streams", options, streams=count, seconds=count / rate + warm_up + seconds + 1)


def requests(name: str, rows: tuple[str, ...], path: str, window: tuple[float, float], **more: str) -> Measure:
    warm_up, seconds = window
    options = {"clients": "16", "warmup": str(warm_up), "seconds": str(seconds)} | more
    return Measure(name, rows, "requests", options, path, seconds=warm_up + seconds + 1)


def cancel(phase: str, rows: tuple[str, ...], count: int, background: int) -> Measure:
    options = {"phase": phase, "count": str(count), "streams": str(background)}
    return Measure(f"cancel-{phase}", rows, "cancel", options, streams=background, seconds=4 + count / 50)


def first_token_local(rows: tuple[str, ...], count: int) -> Measure:
    return Measure("first-token-local", rows, "visits", {"count": str(count), "warmup": "0.5"},
                   seconds=2 + count / 400)


@dataclass(frozen=True)
class Distance:
    """Visits over a link with a round-trip time. All sites of it are visited at the same time, each with processes of
    its own."""

    round_trip_ms: int
    rows: tuple[str, ...]
    # A site of each row for each: idle times in s, after the first question and a few more without a pause.
    schedules: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        return f"first-token-{self.round_trip_ms}ms"

    @property
    def seconds(self) -> float:
        return max(map(sum, self.schedules)) + START_SECONDS


CONFIG_PATH = "/myapi/v1/chat-bot-config"
PAGE_SECONDS = 2  # from the load of the page to the question
WARM_QUESTIONS = 5
START_SECONDS = 15  # until all sites of a link run
VISITED = ("ours", NO_WARM_UP, "go")
ROUND_TRIPS_MS = (30, 200)


def distances(schedules: Sequence[tuple[int, ...]], round_trips_ms: Sequence[int] = ROUND_TRIPS_MS) -> list[Distance]:
    return [Distance(ms, VISITED, tuple(schedules)) for ms in round_trips_ms]


# Three samples of each idle time, in little more than the longest one.
IDLE_TIMES = ((10, 70, 10, 70, 10, 70), (300,), (300,), (300,))


@dataclass(frozen=True)
class Plan:
    measures: list[Measure]
    distances: list[Distance]


def short_requests(rows: tuple[str, ...], window: tuple[float, float]) -> list[Measure]:
    return [
        requests("requests-health", tuple(row for row in rows if row != NEVER), "/health", window, method="GET"),
        requests("requests-config", tuple(row for row in rows if row != NEVER), CONFIG_PATH, window, method="GET"),
        requests("requests-chat", rows, "/myapi/v1/chat-bot", window, method="POST", body=CHAT_BODY),
    ]


def full() -> Plan:
    window, memory_window = (1.5, 4.0), (1.0, 3.0)
    quickly = {"open-rate": "1000"}
    return Plan([
        streams("load-50", both("floor", "ours", "go", "php"), 50, 50, window),
        streams("load-200", (*both(*ALL), NEVER, CAPS_ON, CAPS_OFF, KEYED), 200, 50, window),
        streams("load-1000", (*both(*ALL), NEVER, TWO, CAPS_ON, CAPS_OFF, KEYED), 1000, 50, window),
        streams("batch", ("ours", "go"), 1000, 200, window, batch="4"),
        streams("burst", ("floor", "ours", "go", NEVER), 200, 4, window),
        streams("memory-1000", both(*ALL), 1000, 1000, memory_window, **quickly),
        streams("memory-9500", (*both("ours", "go"), "floor"), 9500, 1000, memory_window, **quickly),
        streams("hold-20000", ("ours",), 20000, 2000, (4.0, 10.0)),
        *short_requests((*RELAYS, NEVER), (1.0, 4.0)),
        *(cancel(phase, ("floor", *RELAYS), 200, 200) for phase in ("streaming", "between", "before")),
        streams("ramp", ("ours",), 8000, 60000, (0.0, 1.0), **{"open-rate": "800", "ramp-step": "1000"}),
        first_token_local(both("floor", "ours", "go"), 2000),
    ], distances(IDLE_TIMES))


def bars_only() -> Plan:
    """What the first table of the report needs."""
    window = (1.5, 4.0)
    pairs = both("ours", "go")
    return Plan([
        *(streams(f"load-{count}", pairs, count, 50, window) for count in (50, 200, 1000)),
        streams("memory-1000", pairs, 1000, 1000, (1.0, 3.0), **{"open-rate": "1000"}),
        first_token_local(both("floor", "ours", "go"), 2000),
    ], distances(IDLE_TIMES))


def quick() -> Plan:
    window = (0.5, 2.0)
    return Plan([
        streams("load-50", both("ours", "go"), 50, 50, window),
        streams("load-200", both(*ALL), 200, 50, window, **{"open-rate": "400"}),
        streams("load-1000", both("floor", "ours", "stub", "go"), 1000, 50, window),
        streams("memory-1000", both("ours", "go"), 1000, 1000, (1.0, 2.0)),
        *short_requests(("ours",), (0.5, 1.5)),
        *(cancel(phase, ("ours",), 50, 0) for phase in ("streaming", "between", "before")),
        first_token_local(both("floor", "ours"), 200),
    ], distances(((3, 5),), ROUND_TRIPS_MS[:1]))
