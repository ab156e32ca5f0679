#include "planner.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "access.h"
#include "answer_script.h"
#include "damaged_script.h"
#include "gzip_script.h"
#include "sample_answer.h"

namespace bailian::simulator {
namespace {

constexpr std::string_view kStreamType = "text/event-stream;charset=UTF-8";
constexpr std::string_view kJsonType = "application/json";
constexpr std::size_t kFloodEvents = 100'000;
constexpr std::size_t kClockEvents = 10'000'000;
constexpr std::size_t kEchoChars = 3;

ApiError directed_error(const Directive& directive, std::string_view key) {
  const std::string code =
      directive.code.empty() ? std::string(usual_code(directive.status.value_or(500))) : directive.code;
  const ApiError published(code);
  std::string message = published.message();
  if (directive.message == Message::kKey) message = "Incorrect API key provided: " + std::string(key) + ".";
  // As documented under "Budget management", with a 429.
  if (directive.message == Message::kBudget) {
    message =
        "The budget configured in Budget Management has been exhausted. You will be unable to make further "
        "API calls until the budget limit is increased or reset.";
  }
  return {directive.status.value_or(published.status()), code, message};
}

// The form of a rejected stream unless the directive chooses one: contract.md §6, row 4.
Framing usual_framing(int status, bool is_stream) {
  return is_stream && (status == 400 || status == 429) ? Framing::kSse200 : Framing::kJson;
}

void set_stream(bool is_stream, Plan& plan) {
  plan.head.is_stream = is_stream;
  plan.head.content_type = is_stream ? kStreamType : kJsonType;
}

// One page of the quotas of a key: contract.md §1.4.
std::string quotas_json(const std::string& request_id) {
  return R"({"request_id":")" + request_id +
         R"(","output":{"total":1,"page_no":1,"page_size":20,"quotas":[{"model":"qwen-plus",)"
         R"("workspace_id":"llm-1","model_limit":{"request_limit":1200,"request_limit_period":60,)"
         R"("usage_limit":null}}]}})";
}

// The markup of two citations, split as in the captures: contract.md §3.2.
void cite(Answer& answer) {
  Pieces& pieces = answer.pieces;
  const std::size_t third = pieces.size() / 3;
  answer.first_reference = third;
  pieces.insert(third, "<ref>[1]</");
  pieces.insert(third + 1, "ref>");
  answer.second_reference = 2 * third + 2;
  pieces.insert(2 * third + 2, "<ref");
  pieces.insert(2 * third + 3, ">[2]</ref>");
}

void fill_text(const Prompt& prompt, Answer& answer) {
  const Directive& directive = prompt.directive;
  if (directive.bytes) {
    answer.pieces.add(std::string(*directive.bytes, 'x'));
  } else if (directive.clock) {
    answer.pieces = Pieces::clock(directive.events.value_or(kClockEvents));
  } else if (directive.events || directive.fault == Fault::kFlood) {
    answer.pieces = Pieces::numbered(directive.events.value_or(kFloodEvents));
  } else if (directive.echo) {
    answer.pieces = Pieces::of_chars(prompt.text, directive.piece.value_or(kEchoChars));
  } else {
    const std::string text = sample_answer(prompt.text);
    answer.pieces = directive.piece ? Pieces::of_chars(text, *directive.piece) : Pieces::tokens(text);
    if (directive.mode == Mode::kRag) cite(answer);
  }
}

// The answers of a proxy in front of DashScope; false for any other fault.
bool plan_proxy_page(Fault fault, const HttpRequest& request, Plan& plan) {
  std::string body;
  switch (fault) {
    case Fault::kHtml:
      plan.head.content_type = "text/html";
      body =
          "<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body><h1>It "
          "works!</h1></body></html>\n";
      break;
    case Fault::kPlain503:
      plan.head.status = 503;
      plan.head.content_type = "text/plain";
      body =
          "upstream connect error or disconnect/reset before headers. reset reason: connection termination";
      break;
    case Fault::kRedirect:
      plan.head.status = 307;
      plan.head.content_type = "";
      plan.more_headers.emplace_back("location",
                                     "http://" + std::string(request.header("host")) + "/elsewhere");
      break;
    default:
      return false;
  }
  plan.from_proxy = true;
  plan.head.is_stream = false;
  plan.script = std::make_unique<FixedScript>(std::move(body));
  return true;
}

// Faults of the whole body, and those outside of the body.
void apply_fault(Fault fault, std::optional<std::size_t> after, Plan& plan) {
  if (auto damage = damage_of(fault, after, plan.head.is_stream)) {
    plan.script = std::make_unique<DamagedScript>(std::move(plan.script), std::move(*damage));
  }
  switch (fault) {
    case Fault::kReset:
      plan.start = Start::kReset;
      break;
    case Fault::kHang:
      plan.start = Start::kHang;
      break;
    case Fault::kDribble:
      plan.dribble = true;
      plan.chunk_bytes = 1;
      break;
    case Fault::kEndlessLine:
      plan.interval = milliseconds(0);
      plan.script = std::make_unique<EndlessLineScript>();
      break;
    case Fault::kFlood:
      plan.interval = milliseconds(0);
      break;
    case Fault::kEmpty:
      plan.script = std::make_unique<FixedScript>("");
      break;
    case Fault::kGzip:
      plan.more_headers.emplace_back("content-encoding", "gzip");
      plan.script = std::make_unique<GzipScript>(std::move(plan.script));
      break;
    case Fault::kCloseIdle:
      plan.close_idle = true;
      break;
    case Fault::kCrlf:
      if (plan.head.is_stream) plan.script = std::make_unique<CrlfScript>(std::move(plan.script));
      break;
    case Fault::kComments:
      plan.script = std::make_unique<KeepaliveScript>();
      // Endless unpaced comments would keep the simulator busy.
      plan.interval = std::max(plan.interval, milliseconds(1));
      break;
    default:
      break;
  }
}

}  // namespace

Plan Planner::plan(const HttpRequest& request) {
  Plan plan;
  plan.head.arrived = std::chrono::system_clock::now();
  set_stream(asks_for_stream(request), plan);
  try {
    if (asks_for_quotas(request)) {
      plan_quotas(request, plan);
      return plan;
    }
    check_access(request, options_);
  } catch (const ApiError& error) {
    plan_error(error, Framing::kJson, plan);
    return plan;
  }
  return plan_checked(request, std::move(plan));
}

void Planner::plan_quotas(const HttpRequest& request, Plan& plan) {
  const Directive directive =
      options_.quotas.empty() ? Directive() : parse_prompt("[[sim " + options_.quotas + "]]").directive;
  plan.chunk_bytes = directive.chunk_bytes.value_or(0);
  if (directive.asks_for_error()) {
    plan_error(directed_error(directive, api_key(request)), Framing::kJson, plan);
  } else if (!plan_proxy_page(directive.fault, request, plan)) {
    check_key(request, options_);
    plan.head.request_id = ids_.uuid();
    plan.script = std::make_unique<FixedScript>(quotas_json(plan.head.request_id));
  }
  apply_fault(directive.fault, directive.after, plan);
}

Plan Planner::plan_checked(const HttpRequest& request, Plan plan) {
  CompletionRequest completion;
  try {
    completion = parse_completion(request.body, plan.head.is_stream);
  } catch (const ApiError& error) {
    // The gateway rejects a bad body, the model service a bad parameter.
    const bool is_late = plan.head.is_stream && error.code() == "InvalidParameter";
    plan_error(error, is_late ? Framing::kSse200 : Framing::kJson, plan);
    return plan;
  }
  try {
    Prompt prompt = parse_prompt(completion.prompt);
    prompt.directive = still_due(prompt.directive);
    plan_directed(request, completion, prompt, plan);
  } catch (const ApiError& error) {
    plan_error(error, Framing::kJson, plan);
  }
  return plan;
}

Directive Planner::still_due(const Directive& directive) {
  if (!directive.times) return directive;
  return ++seen_[directive.source] <= *directive.times ? directive : directive.without_trouble();
}

void Planner::plan_directed(const HttpRequest& request, const CompletionRequest& completion,
                            const Prompt& prompt, Plan& plan) {
  const Directive& directive = prompt.directive;
  const bool breaks_off = directive.after && plan.head.is_stream;
  const bool is_refused = directive.asks_for_error() && !breaks_off;
  plan.interval = directive.interval.value_or(options_.interval);
  plan.delay = directive.delay.value_or(is_refused ? milliseconds(0) : options_.delay);
  plan.batch = directive.batch.value_or(1);
  plan.chunk_bytes = directive.chunk_bytes.value_or(0);

  if (is_refused) {
    const ApiError error = directed_error(directive, api_key(request));
    plan_error(error, directive.framing.value_or(usual_framing(error.status(), plan.head.is_stream)), plan);
  } else if (!directive.example.empty()) {
    plan_example(directive.example, plan);
  } else if (!plan_proxy_page(directive.fault, request, plan)) {
    plan_text(completion, prompt, plan);
  }
  if (directive.asks_for_error() && breaks_off) {
    const ApiError error = directed_error(directive, api_key(request));
    const std::string json = error_json(error.code(), error.message(), ids_.uuid());
    const auto replace = [json, status = error.status()](std::string& event, std::size_t id) {
      event = error_event(id, status, json);
    };
    Damage damage{*directive.after, replace, Ending::kDone};
    plan.script = std::make_unique<DamagedScript>(std::move(plan.script), std::move(damage));
  }
  apply_fault(directive.fault, directive.after, plan);
  plan.hold = directive.hold;
  if (plan.hold && !plan.head.is_stream) plan.hold = 0;
}

Identity Planner::identity(const CompletionRequest& completion) {
  const bool is_known = !completion.session_id.empty() && !completion.session_id.starts_with("unknown");
  return {is_known ? completion.session_id : ids_.hex(32), ids_.uuid(), 20 + completion.prompt.size() / 4};
}

void Planner::plan_text(const CompletionRequest& completion, const Prompt& prompt, Plan& plan) {
  const Directive& directive = prompt.directive;
  Answer answer;
  answer.identity = identity(completion);
  answer.mode = directive.mode;
  answer.cumulative = !completion.is_incremental || directive.fault == Fault::kCumulative;
  answer.null_finish = directive.fault == Fault::kNullFinish;
  answer.text_in_last_event = directive.fault == Fault::kLastText;
  answer.stops = directive.fault != Fault::kNoStop;
  answer.finish = directive.finish;
  fill_text(prompt, answer);
  // In a stream the header and the body disagree, as captured: contract.md §2.
  plan.head.request_id = plan.head.is_stream ? ids_.uuid() : answer.identity.request_id;
  if (plan.head.is_stream) {
    plan.script = std::make_unique<AnswerScript>(std::move(answer));
  } else {
    plan.script = std::make_unique<FixedScript>(answer_body(answer));
  }
}

void Planner::plan_error(const ApiError& error, Framing framing, Plan& plan) {
  const std::string request_id = ids_.uuid();
  const std::string json = error_json(error.code(), error.message(), request_id);
  set_stream(framing != Framing::kJson, plan);
  plan.head.request_id = plan.head.is_stream ? ids_.uuid() : request_id;
  plan.head.status = framing == Framing::kSse200 ? 200 : error.status();
  plan.script =
      std::make_unique<FixedScript>(plan.head.is_stream ? error_event(1, error.status(), json) : json);
}

void Planner::plan_example(const std::string& name, Plan& plan) {
  const Example example = examples_.load(name);
  plan.head.status = example.status;
  plan.head.content_type = example.content_type;
  plan.head.request_id = ids_.uuid();
  plan.head.is_stream = example.content_type.starts_with("text/event-stream");
  if (plan.head.is_stream) {
    plan.script = FixedScript::events(example.body);
  } else {
    plan.script = std::make_unique<FixedScript>(example.body);
  }
}

}  // namespace bailian::simulator
