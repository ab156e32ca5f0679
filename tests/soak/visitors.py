"""The visitors of a soak test: good, bad, slow and leaving ones."""

import asyncio
import contextlib
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

STREAM = "/myapi/v1/chat-bot/stream"
CHAT = "/myapi/v1/chat-bot"
PATIENCE = 90.0  # seconds; every time limit of the responder is far below

ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz     ",
    "杭州的天气怎么样今明后雨晴云",
    "äöüßéñçø ¿¡ ",
    "😀👩‍👩‍👧‍👦🏳️‍🌈🇨🇳 ",
    "\"\\/\n\t\r\b\f\x01\x1f\x7f<>&' ",
)

# Faults of an upstream. Any text before them is the echo of the question.
FAULTS = (
    "fault=reset", "fault=reset-midway", "fault=cut", "fault=no-stop", "fault=truncated-chunk", "fault=stall",
    "fault=hang", "fault=bad-json", "fault=bad-utf8", "fault=lone-surrogate", "fault=deep", "fault=huge",
    "fault=endless-line", "fault=html", "fault=plain503", "fault=empty", "fault=redirect", "fault=gzip",
    "fault=comments", "fault=cumulative", "fault=null-finish", "fault=last-text", "fault=close-idle", "events=3000 fault=flood",
    "fault=dribble interval=1", "fault=reset times=1", "status=401 code=InvalidApiKey message=key",
    "status=429 code=Throttling.RateQuota framing=sse200", "status=500 code=InternalError times=1",
    "status=500 code=InternalError after=3", "status=400 code=DataInspectionFailed framing=sse200",
)


class Wrong(Exception):
    """An answer that violates the contract."""


class Cut(Exception):
    """The connection ended in the middle of an answer."""


@dataclass
class Answer:
    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        try:
            value: dict[str, Any] = json.loads(self.body)
        except ValueError as error:
            raise Wrong(f"no JSON: {self.body[:200]!r}") from error
        return value


@dataclass
class Told:
    """The content of a stream."""

    text: str
    complete: bool


@dataclass
class Site:
    port: int
    fastcgi: str
    dice: random.Random
    tally: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    under_way: int = 0
    closed: bool = False


class Exchange:
    """One HTTP/1.1 request on a connection of its own."""

    def __init__(self, site: Site, buffer: int = 0) -> None:
        self._site = site
        self._buffer = buffer

    async def __aenter__(self) -> "Exchange":
        peer = socket.socket()
        peer.setblocking(False)
        if self._buffer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", self._site.port))
        limit = {"limit": self._buffer} if self._buffer else {}
        self.reader, self.writer = await asyncio.open_connection(sock=peer, **limit)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def send(self, method: str, path: str, body: bytes = b"", length: int | None = None) -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: soak.example\r\nConnection: close\r\n"
        if method == "POST":
            head += f"Content-Type: application/json\r\nContent-Length: {len(body) if length is None else length}\r\n"
        self.writer.write(head.encode() + b"\r\n" + body)

    def ask(self, path: str, prompt: str) -> None:
        self.send("POST", path, json.dumps({"last_prompt": prompt}).encode())

    async def head(self) -> int:
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Cut from error
        self._chunked = b"transfer-encoding: chunked" in head.lower()
        return int(head.split(maxsplit=2)[1])

    async def piece(self) -> bytes:
        """The next part of the body; empty at its end."""
        try:
            if not self._chunked:
                return await self.reader.read(65536)
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Cut from error

    async def answer(self) -> Answer:
        status = await self.head()
        body = bytearray()
        while piece := await self.piece():
            body += piece
        return Answer(status, bytes(body))

    def reset(self) -> None:
        peer = self.writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def told(body: bytes) -> Told:
    """Checks a stream, or the beginning of one."""
    text, complete, finished = "", False, False
    events = body.split(b"\n\n")
    for event in events[:-1]:
        if event == b": keep-alive":
            continue
        if finished:
            raise Wrong(f"after the last event: {event[:200]!r}")
        if not event.startswith(b"data: "):
            raise Wrong(f"no event: {event[:200]!r}")
        try:
            value = json.loads(event[6:])
        except ValueError as error:
            raise Wrong(f"no JSON: {event[:200]!r}") from error
        finished = value["finished"]
        if not finished:
            text += value["content"]
        complete = finished and value["success"]
    if finished and events[-1]:
        raise Wrong(f"after the last event: {events[-1][:200]!r}")
    return Told(text, complete)


async def stream(exchange: Exchange, pause: Callable[[], float] | None = None) -> tuple[int, bytes]:
    """Status and body, which may be cut."""
    body = bytearray()
    try:
        status = await exchange.head()
    except Cut:
        return 0, b""
    with contextlib.suppress(Cut):
        while piece := await exchange.piece():
            body += piece
            if pause is not None:
                await asyncio.sleep(pause())
    return status, bytes(body)


def question(site: Site, longest: int = 120) -> str:
    alphabet = site.dice.choice(ALPHABETS) + site.dice.choice(ALPHABETS)
    # Unique by a stamp, without blanks at its ends.
    letters = "".join(site.dice.choice(alphabet) for _ in range(site.dice.randint(0, longest)))
    return f"<{site.dice.getrandbits(48):x}{letters}>"


def expect(condition: bool, what: str) -> None:
    if not condition:
        raise Wrong(what)


def expect_exact(got: str, asked: str) -> None:
    expect(got == asked, f"asked {asked!r}, got {got!r}")


# --- the kinds of visitors ---


async def reads_a_stream(site: Site) -> str:
    asked = question(site)
    async with Exchange(site) as exchange:
        interval = site.dice.choice((0, 20, 100, 200))
        exchange.ask(STREAM, f"[[sim text=echo interval={interval} piece={site.dice.randint(1, 9)}]] {asked}")
        status, body = await stream(exchange)
    expect(status == 200, f"a good question got {status}: {body[:200]!r}")
    said = told(body)
    expect_exact(said.text, asked)
    expect(said.complete, "a good answer was not told complete")
    return "answered"


async def reads_a_whole_answer(site: Site) -> str:
    asked = question(site)
    async with Exchange(site) as exchange:
        exchange.ask(CHAT, f"[[sim text=echo]] {asked}")
        answer = await exchange.answer()
    expect(answer.status == 200, f"a good question got {answer.status}: {answer.body[:200]!r}")
    expect_exact(answer.json()["result"], asked)
    return "answered"


async def sends_a_conversation(site: Site) -> str:
    asked = question(site)
    prompt = f"[[sim text=echo]] {asked}"
    turns = [{"role": role, "content": question(site, 2000)} for role in ("user", "assistant") * 10]
    body = json.dumps({"last_prompt": prompt, "conversation_history": turns + [{"role": "user", "content": prompt}]})
    async with Exchange(site) as exchange:
        exchange.send("POST", CHAT, body.encode())
        answer = await exchange.answer()
    expect(answer.status == 200, f"a conversation got {answer.status}: {answer.body[:200]!r}")
    expect_exact(answer.json()["result"], asked)
    return "answered"


async def looks_around(site: Site) -> str:
    path, status = site.dice.choice((("/health", 200), ("/myapi/v1/chat-bot-config", 200), ("/myapi/v1/nowhere", 404)))
    async with Exchange(site) as exchange:
        exchange.send("GET", path)
        answer = await exchange.answer()
    expect(answer.status == status, f"{path} got {answer.status}")
    answer.json()
    return "answered"


async def asks_badly(site: Site) -> str:
    body, status = site.dice.choice((
        (b"", 400), (b"{}", 400), (b'{"last_prompt":', 400), (b'{"last_prompt":7}', 400), (b"\xff\xfe{", 400),
        (b"[" * 5000, 400), (json.dumps({"last_prompt": "x" * 40000}).encode(), 413), (b" " * 1_000_000, 400)))
    async with Exchange(site) as exchange:
        exchange.send("POST", site.dice.choice((STREAM, CHAT)), body)
        answer = await exchange.answer()
    expect(answer.status == status, f"a bad request got {answer.status}: {answer.body[:200]!r}")
    expect(answer.json()["success"] is False, "a bad request succeeded")
    return "refused"


async def leaves(site: Site) -> str:
    """Leaves at any moment, with FIN or RST."""
    async with Exchange(site) as exchange:
        delay = site.dice.choice((0, 100))
        exchange.ask(site.dice.choice((STREAM, STREAM, CHAT)), f"[[sim events=50 interval=30 delay={delay}]]")
        body = bytearray()

        async def read() -> None:
            if await exchange.head() == 200:
                while piece := await exchange.piece():
                    body.extend(piece)

        with contextlib.suppress(asyncio.TimeoutError, Cut):
            await asyncio.wait_for(read(), site.dice.uniform(0, 0.8))
        if site.dice.random() < 0.5:
            exchange.reset()
    if body.startswith(b"data: "):
        told(bytes(body))
    return "left"


async def reads_slowly(site: Site) -> str:
    asked = question(site, 6000)
    async with Exchange(site, buffer=4096) as exchange:
        exchange.ask(STREAM, f"[[sim text=echo interval=0 piece=40]] {asked}")
        status, body = await stream(exchange, lambda: site.dice.uniform(0, 0.03))
    expect(status == 200, f"a slow reader got {status}")
    said = told(body)
    expect_exact(said.text, asked)
    expect(said.complete, "a slow reader got no complete answer")
    return "answered"


async def reads_nothing(site: Site) -> str:
    """Reads only after a pause. The answer may be cut by then, but must not be wrong."""
    async with Exchange(site, buffer=4096) as exchange:
        exchange.ask(STREAM, "[[sim events=8000 interval=0 batch=50]]")
        await asyncio.sleep(site.dice.uniform(1, 6))
        status, body = await stream(exchange)
    if status == 200:
        said = told(body)
        whole = "".join(f"tok{i} " for i in range(1, 8001))
        expect(whole.startswith(said.text), "a slow answer is not the beginning of the whole")
        expect(not said.complete or said.text == whole, "reported complete, but was not")
        return "answered" if said.complete else "dropped"
    return "dropped"


async def never_ends_its_request(site: Site) -> str:
    async with Exchange(site) as exchange:
        exchange.send("POST", STREAM, b'{"last_prompt":"', length=1000)
        await asyncio.sleep(site.dice.uniform(0, 3))
    return "left"


async def meets_a_fault(site: Site) -> str:
    asked = question(site, 40)
    fault = site.dice.choice(FAULTS)
    whole = site.dice.random() < 0.3
    async with Exchange(site) as exchange:
        exchange.ask(CHAT if whole else STREAM, f"[[sim text=echo {fault}]] {asked}")
        status, body = await stream(exchange)
    if status != 200:
        expect(status in (0, 400, 429, 500, 502, 503, 504), f"{fault} got {status}")
        expect(status == 0 or Answer(status, body).json()["success"] is False, f"{fault} succeeded with {status}")
        return "told of a failure"
    if whole:
        answer = Answer(status, body).json()
        expect(answer["success"] is True, "200, and no success")
        said = Told(answer["result"], complete=True)
    else:
        said = told(body)
    expect("sk-soak" not in said.text, "the key was told")
    # These have their own texts, or replace a part of the text.
    if said.complete and not any(word in fault for word in ("flood", "huge", "gzip", "lone-surrogate", "bad-utf8")):
        expect_exact(said.text, asked)
    return "answered" if said.complete else "told of a failure"


async def speaks_to_the_socket(site: Site) -> str:
    """A hostile FastCGI peer."""
    reader, writer = await asyncio.open_unix_connection(site.fastcgi)
    begin = bytes([1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    noise = site.dice.randbytes(site.dice.randint(0, 3000))
    writer.write(site.dice.choice((b"", begin, begin + bytes([1, 4, 0, 1, 255, 255, 0, 0]))) + noise)
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        await asyncio.wait_for(reader.read(100), site.dice.uniform(0, 1))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return "left"


KINDS: dict[Callable[[Site], Awaitable[str]], int] = {
    reads_a_stream: 40, reads_a_whole_answer: 10, sends_a_conversation: 3, looks_around: 5, asks_badly: 5, leaves: 15,
    reads_slowly: 6, reads_nothing: 1, never_ends_its_request: 4, meets_a_fault: 14, speaks_to_the_socket: 4,
}


async def visit_until_closed(site: Site) -> None:
    while not site.closed:
        kind = site.dice.choices(list(KINDS), list(KINDS.values()))[0]
        site.under_way += 1
        try:
            came_of_it = await asyncio.wait_for(kind(site), PATIENCE)
        except Wrong as wrong:
            came_of_it = "WRONG"
            site.wrong.append(f"{kind.__name__}: {wrong}")
        except Cut:
            came_of_it = "WRONG"
            site.wrong.append(f"{kind.__name__}: cut")
        except asyncio.TimeoutError:
            came_of_it = "WRONG"
            site.wrong.append(f"{kind.__name__}: hung for {PATIENCE:.0f} s")
        except OSError as error:
            came_of_it = "WRONG"
            site.wrong.append(f"{kind.__name__}: {error}")
        finally:
            site.under_way -= 1
        site.tally[f"{kind.__name__.replace('_', ' ')}: {came_of_it}"] += 1
        await asyncio.sleep(site.dice.uniform(0, 1))
