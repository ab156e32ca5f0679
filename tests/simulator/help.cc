#include "help.h"

namespace bailian::simulator {
namespace {

constexpr std::string_view kText =
    R"(usage: simulator [OPTION]...

Stands in for Alibaba Cloud DashScope: answers POST /api/v1/apps/{APP_ID}/completion in the same bytes, as
JSON or, with `X-DashScope-SSE: enable` or `Accept: text/event-stream`, as server-sent events. It is no model:
the answers only quote the question. Prints `listening on http://HOST:PORT` when it is ready.

OPTIONS (--name VALUE or --name=VALUE)
  --listen HOST:PORT  where to listen; port 0: the kernel picks one     (127.0.0.1:0)
  --api-key KEY       the only key accepted                             (any that starts with sk-)
  --app-id ID         the only app accepted                             (any)
  --quotas DIRECTIVE  directs the answers to GET /api/v1/quotas         (200, for a wrong key 401)
  --examples DIR      directory with INDEX.tsv and bodies for example=  (none)
  --interval MS       pause between the events of an answer             (30)
  --delay MS          pause before the first event                      (200)
  --help, --version
Ends on SIGTERM or SIGINT with 0; 64: bad usage, 69: can't listen.

DIRECTIVES
[[sim key=value key=value ...]] anywhere in the last thing the user says directs its answer. No spaces in
values, decimal numbers. What can't be read is answered 400 InvalidParameter, with the key named.

 pace
  interval=MS delay=MS  instead of the options; interval=0: as fast as the client reads
  batch=N               N events in a chunk
  chunk=N               the body in chunks of N bytes, each written for itself
  hold=N                stop after N text events until POST /control/release; 0: before the first byte
 text
  events=N              exactly N text events: `tok1 `, `tok2 `, ...
  bytes=N               one text event of N times `x`
  text=clock            `@N.T;`, N from 1, T the monotonic clock in ns; 10000000 events, or events=N
  text=echo             the prompt without the directive and one space behind it, 3 characters an event
  piece=N               N characters an event, for text=echo or the usual answer
  mode=M                agent (the usual), thoughts, rag, message_format, full_thoughts
  finish=WORD           finish_reason of the last event instead of stop
  example=NAME          the bytes of NAME.txt in --examples, with status and content type of INDEX.tsv
 errors
  status=N code=C       a documented error with its published text; one of the two is enough
  framing=F             json: JSON with the status · sse200: event:error under 200 · sse: under the status
                        (a stream's 400 and 429: sse200; else json)
  after=K               in a stream: event:error after K text events; also moves a fault (below)
  message=key|budget    the message contains the caller's API key, or says that the month's budget is spent
 faults: fault=F; those with * hit the event after 2 text events, or after=K, or the whole body as JSON
  reset                 RST before the first byte      reset-midway*    RST inside an event
  cut*                  a clean end inside an event    no-stop          a clean end without the last event
  truncated-chunk*      a chunk promises more, close   stall            one event, or after=K, then silence
  hang                  no answer at all               dribble          one byte an interval
  bad-json*             an event with half its JSON    bad-utf8*        bytes that aren't UTF-8 in a text
  lone-surrogate*       \ud83d alone in a text         deep*            JSON 100000 arrays deep
  huge*                 one event of 10 MB             endless-line     64 MB without a line end, then close
  flood                 100000 events (or events=N) as fast as the client reads
  html                  200 with a page                plain503         the proxy's text
  empty                 200 without a body             redirect         307 to /elsewhere on this host
  gzip                  compressed unasked             crlf             framing of examples/16
  comments              :keepalive lines for ever      cumulative       ignores incremental_output
  null-finish           finish_reason null, no string  last-text        the last text comes with stop
  close-idle            the kept-alive connection closes a moment after the answer; a request that comes
                        before meets the close
 and
  times=K               errors, faults and example= apply to the first K requests with this very directive

WITHOUT A DIRECTIVE
Missing or wrong key 401 InvalidApiKey; another app 403 App.AccessDenied; X-DashScope-WorkSpace: ws-unknown
404 WorkSpaceNotFound; a body that is no JSON or has no input 400; over 6 MiB 400 BadRequest.TooLarge; empty
content or a last message not by the user InvalidParameter. A session_id comes back as it is, one that starts
with `unknown` is replaced by a new one. GET /api/v1/quotas with the key 200, with another one 401.

CONTROL (JSON; not part of DashScope)
  GET /control/stats         {"requests","completed","cut","open","held","events","connections",
                             "warm_ups","input_tokens","output_tokens","last_cut_ns"}
                             completed: answered to the planned end, faults included; cut: the client closed
                             before; open and held: now; events: of streams; connections: TCP connections
                             with a request to DashScope. requests = completed + cut + open.
                             warm_ups: HEAD requests without a key, which are no other requests
                             input_tokens, output_tokens: billed, as the usage of the events sent says
                             last_cut_ns: the monotonic clock at the newest cut
  GET /control/stats?wait=FIELD&at_least=N&timeout_ms=T    or at_most=N
                             answers 200 as soon as FIELD is so, 408 after T ms (5000)
  GET /control/last-request  {"path","headers":{lower-case name: value},"body"} of the newest request
  POST /control/release      held answers go on; 204
  POST /control/reset        counts from 0, forgets times=K, releases; what is open stays open, but counts
                             only in `open`; 204

EXAMPLE
  simulator --listen 127.0.0.1:9000 &
  curl -N http://127.0.0.1:9000/api/v1/apps/demo/completion -H 'Authorization: Bearer sk-1' \
       -H 'X-DashScope-SSE: enable' -d '{"input":{"prompt":"Hello [[sim fault=cut]]"}}'
)";

}  // namespace

std::string_view help_text() { return kText; }

}  // namespace bailian::simulator
