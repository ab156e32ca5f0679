"""What is measured: which contenders, under which load."""

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


ROWS = {
    "ours": Row("ours"),
    "ours, TLS upstream": Row("ours", tls=True),
    "ours, TOKEN_COALESCE=0": Row("ours", settings={"TOKEN_COALESCE": "0"}),
    "ours, WORKERS=2": Row("ours", workers=2),
}


def row_of(name: str) -> Row:
    return ROWS.get(name, Row(name))


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


CHAT_BODY = '{"last_prompt":"[[sim delay=0 interval=0 events=20]] hi"}'
RELAYS = ("ours", "go", "php")
ALL = ("floor", "ours", "stub", "go", "php")
TLS = "ours, TLS upstream"
NEVER = "ours, TOKEN_COALESCE=0"
TWO = "ours, WORKERS=2"


def short_requests(rows: tuple[str, ...], window: tuple[float, float]) -> list[Measure]:
    return [
        requests("requests-health", rows, "/health", window, method="GET"),
        requests("requests-config", rows, "/myapi/v1/chat-bot-config", window, method="GET"),
        requests("requests-chat", rows, "/myapi/v1/chat-bot", window, method="POST", body=CHAT_BODY),
    ]


def full() -> list[Measure]:
    window, memory_window = (2.0, 5.0), (1.0, 3.0)
    return [
        streams("load-50", ALL, 50, 50, window),
        streams("load-200", (*ALL, TLS, NEVER), 200, 50, window),
        streams("load-1000", (*ALL, TLS, NEVER, TWO), 1000, 50, window),
        streams("batch", ("ours", "go"), 1000, 200, window, batch="4"),
        streams("burst", (*ALL, NEVER), 200, 4, window),
        streams("memory-1000", (*ALL, TLS), 1000, 1000, memory_window, **{"open-rate": "1000"}),
        streams("memory-5000", ("floor", "ours", TLS, "stub", "go"), 5000, 1000, memory_window,
                **{"open-rate": "1000"}),
        streams("memory-9500", ("floor", "ours", TLS, "stub", "go"), 9500, 1000, memory_window,
                **{"open-rate": "1000"}),
        streams("hold-20000", ("ours",), 20000, 2000, (4.0, 10.0)),
        *short_requests((*RELAYS, NEVER), (1.0, 4.0)),
        *(cancel(phase, ("floor", *RELAYS), 200, 200) for phase in ("streaming", "between", "before")),
        streams("ramp", ("ours",), 8000, 60000, (0.0, 1.0), **{"open-rate": "800", "ramp-step": "1000"}),
    ]


def quick() -> list[Measure]:
    window = (0.5, 2.0)
    return [
        streams("load-200", (*ALL, TLS), 200, 50, window, **{"open-rate": "400"}),
        streams("load-1000", ALL, 1000, 50, window),
        streams("memory-1000", ("ours", TLS, "go"), 1000, 1000, (1.0, 2.0)),
        *short_requests(("ours",), (0.5, 1.5)),
        *(cancel(phase, ("ours",), 50, 0) for phase in ("streaming", "between", "before")),
    ]
