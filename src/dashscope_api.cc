#include "dashscope_api.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <utility>
#include <vector>

#include "biz_params.h"
#include "json.h"

namespace bailian {
namespace {

using rapidjson::SizeType;

// --- the request ---

bool has_system_prompt(const Config& config) { return !config.system_prompt.empty(); }

void write_message(JsonWriter& writer, std::string_view role, std::string_view content) {
  writer.StartObject();
  write_member(writer, "role", role);
  write_member(writer, "content", content);
  writer.EndObject();
}

void write_input(JsonWriter& writer, const ChatRequest& chat, const Config& config) {
  writer.StartObject();
  const bool prompt_alone = !chat.session_id.empty() || (chat.history.empty() && !has_system_prompt(config));
  if (prompt_alone) {
    write_member(writer, "prompt", chat.prompt);
    if (!chat.session_id.empty()) write_member(writer, "session_id", chat.session_id);
  } else {
    writer.Key("messages");
    writer.StartArray();
    if (has_system_prompt(config)) write_message(writer, "system", config.system_prompt);
    for (const Message& message : chat.history) write_message(writer, message.role, message.content);
    write_message(writer, "user", chat.prompt);
    writer.EndArray();
  }
  if (!chat.image_urls.empty()) {
    writer.Key("image_list");
    writer.StartArray();
    for (const std::string& url : chat.image_urls) write_string(writer, url);
    writer.EndArray();
  }
  const std::string biz_params = merged_biz_params(config.biz_params_json, chat.biz_params_json);
  if (!biz_params.empty()) {
    writer.Key("biz_params");
    writer.RawValue(biz_params.data(), biz_params.size(), rapidjson::kObjectType);
  }
  writer.EndObject();
}

// The operator's parameters outweigh ours.
void write_parameters(JsonWriter& writer, const Config& config, AnswerMode mode) {
  JsonDocument chosen;
  chosen.Parse(config.parameters_json);
  const auto write_default = [&](const char* key, auto write) {
    if (chosen.HasMember(key)) return;
    writer.Key(key);
    write();
  };
  writer.StartObject();
  if (mode == AnswerMode::kStream) {
    write_default("incremental_output", [&] { writer.Bool(true); });
    // Makes a workflow stream its text as an agent does; agents have no such mode and pass it over.
    write_default("flow_stream_mode", [&] { writer.String("agent_format"); });
  }
  if (!config.temperature.empty()) {
    write_default("temperature", [&] {
      writer.RawValue(config.temperature.data(), config.temperature.size(), rapidjson::kNumberType);
    });
  }
  for (const auto& member : chosen.GetObject()) {
    const std::string_view key = as_view(member.name);
    // Thinking models refuse it in calls that do not stream, with 400 InvalidParameter.
    if (mode == AnswerMode::kJson && (key == "enable_thinking" || key == "incremental_output")) continue;
    writer.Key(member.name.GetString(), member.name.GetStringLength());
    member.value.Accept(writer);
  }
  writer.EndObject();
}

// --- the answer ---

// Replaces each escape of half a surrogate pair, in place: all of them have six bytes.
void mend_lone_surrogates(std::string& json) {
  constexpr std::string_view kReplacement = "\\uFFFD";
  const auto unit_at = [&json](size_t at) -> unsigned {
    unsigned unit = 0;
    if (at + 6 > json.size() || json[at] != '\\' || json[at + 1] != 'u') return 0;
    const auto [end, error] = std::from_chars(&json[at + 2], &json[at + 6], unit, 16);
    return error == std::errc() && end == &json[at + 6] ? unit : 0;
  };
  const auto is_high = [](unsigned unit) { return unit >= 0xd800 && unit < 0xdc00; };
  const auto is_low = [](unsigned unit) { return unit >= 0xdc00 && unit < 0xe000; };
  for (size_t at = json.find('\\'); at != std::string::npos; at = json.find('\\', at)) {
    const unsigned unit = unit_at(at);
    if (is_high(unit) && is_low(unit_at(at + 6))) {
      at += 12;
    } else {
      if (is_high(unit) || is_low(unit)) json.replace(at, kReplacement.size(), kReplacement);
      at += unit != 0 ? 6 : 2;
    }
  }
}

// Follows RapidJSON through the object and picks the members of AnswerFields out by their path.
class FieldPicker : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, FieldPicker> {
 public:
  AnswerFields fields;
  bool has_root = false;

  bool Key(const char* text, SizeType size, bool) {
    key_ = {text, size};
    return true;
  }
  bool String(const char* text, SizeType size, bool) {
    take({text, size});
    return true;
  }
  bool Uint64(uint64_t number) {
    if (top() == Place::kReference && key_ == "index_id" && number <= kMaxIndex) {
      fields.references.back().index = static_cast<int>(number);
    }
    if (top() != Place::kModel) return true;
    fields.has_usage = true;
    if (key_ == "input_tokens") fields.usage.input_tokens += number;
    if (key_ == "output_tokens") fields.usage.output_tokens += number;
    return true;
  }
  bool Uint(unsigned number) { return Uint64(number); }
  bool Default() { return true; }

  bool StartObject() { return push(); }
  bool StartArray() { return depth_ > 0 && push(); }
  bool EndObject(SizeType) { return pop(); }
  bool EndArray(SizeType) { return pop(); }

 private:
  static constexpr unsigned kMaxIndex = 9999;

  enum class Place : unsigned char {
    kOutside,
    kRoot,
    kOutput,
    kWorkflowMessage,
    kWorkflowText,
    kThoughts,
    kThought,
    kReferences,
    kReference,
    kUsage,
    kModels,
    kModel,
    kError,
    kElsewhere
  };

  [[nodiscard]] Place top() const { return depth_ == 0 ? Place::kOutside : places_[depth_ - 1]; }

  bool push() {
    if (depth_ == places_.size()) return false;
    const Place place = inner_place();
    places_[depth_++] = place;
    has_root = true;
    if (place == Place::kOutput) fields.has_output = true;
    if (place == Place::kThought) thought_ = thought_type_ = {};
    if (place == Place::kReference) fields.references.emplace_back();
    key_ = {};
    return true;
  }
  bool pop() {
    if (top() == Place::kThought && thought_type_ == "reasoning") fields.thought += thought_;
    --depth_;
    key_ = {};
    return true;
  }

  [[nodiscard]] Place inner_place() const {
    switch (top()) {
      case Place::kOutside:
        return Place::kRoot;
      case Place::kRoot:
        if (key_ == "output") return Place::kOutput;
        if (key_ == "usage") return Place::kUsage;
        return key_ == "error" ? Place::kError : Place::kElsewhere;
      case Place::kOutput:
        if (key_ == "workflow_message") return Place::kWorkflowMessage;
        if (key_ == "thoughts") return Place::kThoughts;
        return key_ == "doc_references" ? Place::kReferences : Place::kElsewhere;
      case Place::kWorkflowMessage:
        return key_ == "message" ? Place::kWorkflowText : Place::kElsewhere;
      case Place::kThoughts:
        return Place::kThought;
      case Place::kReferences:
        return Place::kReference;
      case Place::kUsage:
        return key_ == "models" ? Place::kModels : Place::kElsewhere;
      case Place::kModels:
        return Place::kModel;
      default:
        return Place::kElsewhere;
    }
  }

  void take(std::string_view value) {
    switch (top()) {
      case Place::kRoot:
        if (key_ == "request_id" || key_ == "requestId") fields.request_id = value;
        return take_error(value);
      case Place::kError:
        return take_error(value);
      case Place::kOutput:
        if (key_ == "text") fields.text = value;
        if (key_ == "finish_reason") fields.finish_reason = value == "null" ? "" : value;
        if (key_ == "session_id") fields.session_id = value;
        return;
      case Place::kWorkflowMessage:
        if (key_ == "node_type") fields.workflow_node_type = value;
        return;
      case Place::kWorkflowText:
        if (key_ == "content") fields.workflow_text = value;
        return;
      case Place::kThought:
        if (key_ == "thought") thought_ = value;
        if (key_ == "action_type") thought_type_ = value;
        return;
      case Place::kReference:
        return take_reference(value);
      case Place::kModel:
        if (key_ == "model_id" && fields.model.empty()) fields.model = value;
        return;
      default:
        return;
    }
  }

  void take_reference(std::string_view value) {
    auto& reference = fields.references.back();
    if (key_ == "index_id") {
      unsigned index = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), index);
      if (error == std::errc() && end == value.data() + value.size() && index <= kMaxIndex) {
        reference.index = static_cast<int>(index);
      }
    }
    if (key_ == "title" || (key_ == "doc_name" && reference.title.empty())) reference.title = value;
    if (key_ == "doc_url") reference.url = value;
  }

  void take_error(std::string_view value) {
    if (key_ == "code") fields.code = value;
    if (key_ == "message" || key_ == "msg") fields.message = value;
  }

  std::array<Place, kMaxJsonDepth> places_{};
  size_t depth_ = 0;
  std::string_view key_;
  std::string_view thought_;
  std::string_view thought_type_;
};

// --- errors ---

struct KnownCode {
  std::string_view code;
  UpstreamFault fault;
};

constexpr std::array kKnownCodes = {
    KnownCode{"InvalidApiKey", UpstreamFault::kAuth},
    KnownCode{"NOT AUTHORIZED", UpstreamFault::kAuth},
    KnownCode{"AccessDenied", UpstreamFault::kApp},
    KnownCode{"AccessDenied.Unpurchased", UpstreamFault::kQuota},
    KnownCode{"Model.AccessDenied", UpstreamFault::kApp},
    KnownCode{"App.AccessDenied", UpstreamFault::kApp},
    KnownCode{"Workspace.AccessDenied", UpstreamFault::kApp},
    KnownCode{"InvalidAppId", UpstreamFault::kApp},
    KnownCode{"App.InvalidAppId", UpstreamFault::kApp},
    KnownCode{"FlowNotPublished", UpstreamFault::kApp},
    KnownCode{"ModelNotFound", UpstreamFault::kApp},
    KnownCode{"WorkSpaceNotFound", UpstreamFault::kApp},
    KnownCode{"NotFound", UpstreamFault::kApp},
    KnownCode{"DataInspectionFailed", UpstreamFault::kRejected},
    KnownCode{"FaqRuleBlocked", UpstreamFault::kRejected},
    KnownCode{"CustomRoleBlocked", UpstreamFault::kRejected},
    KnownCode{"BadRequest.TooLarge", UpstreamFault::kTooLarge},
    KnownCode{"Throttling", UpstreamFault::kThrottled},
    KnownCode{"LimitRequests", UpstreamFault::kThrottled},
    // Sounds like money and is none: the limit of tokens in a minute.
    KnownCode{"insufficient_quota", UpstreamFault::kThrottled},
    KnownCode{"rate_limit_exceeded", UpstreamFault::kThrottled},
    KnownCode{"ModelServingError", UpstreamFault::kThrottled},
    KnownCode{"Arrearage", UpstreamFault::kQuota},
    KnownCode{"AllocationQuota.FreeTierOnly", UpstreamFault::kQuota},
    KnownCode{"CommodityNotPurchased", UpstreamFault::kQuota},
    KnownCode{"PrepaidBillOverdue", UpstreamFault::kQuota},
    KnownCode{"PostpaidBillOverdue", UpstreamFault::kQuota},
    KnownCode{"RequestTimeOut", UpstreamFault::kTimeout},
    // The name misleads: it is a 400 for a conversation the model cannot take.
    KnownCode{"ServiceUnavailableError", UpstreamFault::kFailed},
};

// Many codes have an alias in the style of OpenAI: invalid_api_key is InvalidApiKey.
bool is_code(std::string_view code, std::string_view known) {
  if (code == known) return true;
  for (size_t i = 0; i < known.size(); ++i) {
    const auto c = static_cast<unsigned char>(known[i]);
    if (std::isupper(c) != 0 && i > 0 && known[i - 1] != '.') {
      if (!code.starts_with('_')) return false;
      code.remove_prefix(1);
    }
    if (code.empty() || code.front() != std::tolower(c)) return false;
    code.remove_prefix(1);
  }
  return code.empty();
}

const KnownCode* find_code(std::string_view code) {
  for (const KnownCode& known : kKnownCodes) {
    if (is_code(code, known.code)) return &known;
  }
  if (code.starts_with("Throttling.")) return find_code("Throttling");
  return nullptr;
}

// InternalError.Algo.DataInspectionFailed wraps DataInspectionFailed: the whole name, then ever shorter ends.
const KnownCode* find_wrapped_code(std::string_view code) {
  while (true) {
    if (const KnownCode* known = find_code(code)) return known;
    const size_t dot = code.find('.');
    if (dot == std::string_view::npos) return nullptr;
    code.remove_prefix(dot + 1);
  }
}

// Some messages begin with a code of their own: `<400> InternalError.Algo.DataInspectionFailed: ...`.
std::string_view code_in_message(std::string_view message) {
  if (!message.starts_with('<')) return {};
  const size_t start = message.find("> ");
  if (start == std::string_view::npos) return {};
  message.remove_prefix(start + 2);
  return message.substr(0, message.find(':'));
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

UpstreamFault classify_by_status(int status) {
  if (status == 401) return UpstreamFault::kAuth;
  if (status == 403 || status == 404) return UpstreamFault::kApp;
  if (status == 408) return UpstreamFault::kTimeout;
  if (status == 413) return UpstreamFault::kTooLarge;
  if (status == 429) return UpstreamFault::kThrottled;
  return UpstreamFault::kFailed;
}

// A monthly budget of the console is used up, and its option to stop then is on: a 429 of whatever code,
// which no waiting mends.
bool names_the_budget(std::string_view message) {
  return contains(message, "Budget Management") || contains(message, "预算管理");
}

UpstreamFault classify_by_code(int status, std::string_view code, std::string_view message) {
  // One code, two meanings: the rate was too high, or the free quota is gone for good.
  const bool is_allocation = code.ends_with("Throttling.AllocationQuota") || code == "insufficient_quota";
  if (is_allocation && contains(message, "Free")) {
    return UpstreamFault::kQuota;
  }
  // A wrong application id is reported as a bad parameter as well.
  const bool is_parameter = code.ends_with("InvalidParameter") || code == "invalid_parameter_error";
  if (is_parameter && (contains(message, "AppId") || contains(message, "app_id"))) {
    return UpstreamFault::kApp;
  }
  // Arrears come under this code as well.
  if (is_code(code, "AccessDenied") && contains(message, "in good standing")) {
    return UpstreamFault::kQuota;
  }
  if (const KnownCode* known = find_wrapped_code(code)) return known->fault;
  if (const KnownCode* known = find_wrapped_code(code_in_message(message))) return known->fault;
  return classify_by_status(status);
}

UpstreamFault classify(int status, std::string_view code, std::string_view message) {
  const UpstreamFault fault = classify_by_code(status, code, message);
  const bool may_be_429 = status == 429 || status < 400 || fault == UpstreamFault::kThrottled;
  return may_be_429 && names_the_budget(message) ? UpstreamFault::kQuota : fault;
}

// Those that kKnownCodes leaves to their status, and our own.
constexpr std::array<std::string_view, 35> kOtherCodes = {
    "InvalidParameter",
    "invalid_parameter_error",
    "BadRequest.EmptyInput",
    "BadRequest.EmptyParameters",
    "BadRequest.EmptyModel",
    "BadRequest.IllegalInput",
    "BadRequest.InputDownloadFailed",
    "BadRequest.UnsupportedFileFormat",
    "InvalidURL",
    "UnsupportedOperation",
    "ClientDisconnect",
    "Throttling.RateQuota",
    "Throttling.BurstRate",
    "Throttling.AllocationQuota",
    "InternalError",
    "InternalError.Algo",
    "InternalError.Timeout",
    "SystemError",
    "ModelServiceFailed",
    "AppProcessFailed",
    "InvokePluginFailed",
    "RewriteFailed",
    "RetrivalFailed",
    "RetrievalFailed",
    "ModelUnavailable",
    "connect_timeout",
    "connect_failed",
    "tls_failed",
    "connection_broken",
    "first_token_timeout",
    "idle_timeout",
    "timeout",
    "truncated_answer",
    "invalid_answer",
    "internal",
};

}  // namespace

std::string_view error_label(std::string_view code) {
  if (code.empty()) return "none";
  while (true) {
    const auto* other = std::find_if(kOtherCodes.begin(), kOtherCodes.end(),
                                     [code](std::string_view known) { return is_code(code, known); });
    if (other != kOtherCodes.end()) return *other;
    if (const KnownCode* known = find_code(code)) return known->code;
    const size_t dot = code.find('.');
    if (dot == std::string_view::npos) return "other";
    code.remove_prefix(dot + 1);
  }
}

std::string_view fault_label(UpstreamFault fault) {
  constexpr std::array<std::string_view, 9> kFaults = {
      "auth", "app", "rejected", "too_large", "throttled", "quota", "timeout", "connect", "failed"};
  return kFaults.at(static_cast<size_t>(fault));
}

std::string completion_body(const ChatRequest& chat, const Config& config, AnswerMode mode) {
  JsonBuffer buffer;
  JsonWriter writer(buffer);
  writer.StartObject();
  writer.Key("input");
  write_input(writer, chat, config);
  writer.Key("parameters");
  write_parameters(writer, config, mode);
  writer.Key("debug");
  writer.StartObject();
  writer.EndObject();
  writer.EndObject();
  return std::string(written(buffer));
}

std::optional<AnswerFields> parse_answer_fields(std::string& json) {
  if (json.find("\\uD") != std::string::npos || json.find("\\ud") != std::string::npos)
    mend_lone_surrogates(json);
  // RapidJSON takes all bytes that a character should have before it looks at them.
  constexpr size_t kLongestCharacter = 4;
  const size_t size = json.size();
  json.append(kLongestCharacter - 1, '\0');
  JsonReader reader;
  rapidjson::InsituStringStream stream(json.data());
  FieldPicker picker;
  constexpr unsigned kFlags =
      rapidjson::kParseInsituFlag | rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag;
  const bool parsed = !reader.Parse<kFlags>(stream, picker).IsError();
  const bool all_read = stream.Tell() == size;  // a NUL byte would have ended it early
  if (!parsed || !all_read || !picker.has_root) return std::nullopt;
  return std::move(picker.fields);
}

UpstreamError classify_error(int http_status, std::string_view code, std::string_view message,
                             std::string_view request_id) {
  const UpstreamFault fault = classify(http_status, code, message);
  // Only what was turned away at the door is surely free. A step of the application that was throttled says
  // so with the status of a failure, and the steps before it are billed.
  const bool is_free = fault == UpstreamFault::kThrottled && (http_status == 429 || http_status < 400);
  return {fault, std::string(code), std::string(message), std::string(request_id), is_free};
}

}  // namespace bailian
