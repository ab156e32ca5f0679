#include "dashscope/answer_fields.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <utility>

#include "base/json.h"

namespace bailian {
namespace {

using rapidjson::SizeType;

// Replaces each escape of half a surrogate pair in place: all escapes have six bytes.
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

// The reader's position in the answer. An array comes before its items.
enum class JsonPath : unsigned char {
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

using enum JsonPath;

struct Inner {
  std::string_view key;  // empty: the items of an array
  JsonPath outer;
  JsonPath path;
};
constexpr Inner kInner[] = {
    {"", kOutside, kRoot},
    {"output", kRoot, kOutput},
    {"usage", kRoot, kUsage},
    {"error", kRoot, kError},
    {"workflow_message", kOutput, kWorkflowMessage},
    {"thoughts", kOutput, kThoughts},
    {"doc_references", kOutput, kReferences},
    {"message", kWorkflowMessage, kWorkflowText},
    {"", kThoughts, kThought},
    {"", kReferences, kReference},
    {"models", kUsage, kModels},
    {"", kModels, kModel},
};

struct StringMember {
  JsonPath path;
  std::string_view key;
  std::string_view AnswerFields::*member;
};
constexpr StringMember kStringMembers[] = {
    {kRoot, "request_id", &AnswerFields::request_id},
    {kRoot, "requestId", &AnswerFields::request_id},
    {kRoot, "code", &AnswerFields::code},
    {kRoot, "message", &AnswerFields::message},
    {kRoot, "msg", &AnswerFields::message},
    {kError, "code", &AnswerFields::code},
    {kError, "message", &AnswerFields::message},
    {kError, "msg", &AnswerFields::message},
    {kOutput, "finish_reason", &AnswerFields::finish_reason},
    {kOutput, "session_id", &AnswerFields::session_id},
    {kWorkflowMessage, "node_type", &AnswerFields::workflow_node_type},
};

// Follows RapidJSON through the object and picks out the members of AnswerFields by their path.
class FieldPicker : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, FieldPicker> {
 public:
  explicit FieldPicker(AnswerFields& fields) : fields_(fields) {}

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
    if (top() == kReference && key_ == "index_id" && number <= kMaxIndex)
      fields_.references.back().index = static_cast<int>(number);
    if (top() != kModel) return true;
    fields_.has_usage = true;
    if (key_ == "input_tokens") fields_.usage.input_tokens += number;
    if (key_ == "output_tokens") fields_.usage.output_tokens += number;
    return true;
  }
  bool Uint(unsigned number) { return Uint64(number); }
  bool Bool(bool value) {
    if (value && is_reject_status()) fields_.is_rejected = true;
    return true;
  }
  bool Default() { return true; }

  bool StartObject() { return push(); }
  bool StartArray() { return depth_ > 0 && push(); }
  bool EndObject(SizeType) { return pop(); }
  bool EndArray(SizeType) { return pop(); }

 private:
  static constexpr unsigned kMaxIndex = 9999;

  [[nodiscard]] bool is_reject_status() const { return top() == kOutput && key_ == "reject_status"; }
  [[nodiscard]] JsonPath top() const { return depth_ == 0 ? kOutside : paths_[depth_ - 1]; }

  bool push() {
    if (depth_ == paths_.size()) return false;
    const auto* inner = std::ranges::find_if(kInner, [this, outer = top()](const Inner& one) {
      return one.outer == outer && (one.key.empty() || one.key == key_);
    });
    const JsonPath path = inner != std::end(kInner) ? inner->path : kElsewhere;
    paths_[depth_++] = path;
    has_root = true;
    if (path == kOutput) fields_.has_output = true;
    if (path == kThought) thought_ = thought_type_ = {};
    if (path == kReference) fields_.references.emplace_back();
    key_ = {};
    return true;
  }

  bool pop() {
    assert(depth_ > 0);
    if (top() == kThought && thought_type_ == "reasoning") fields_.thought += thought_;
    --depth_;
    key_ = {};
    return true;
  }

  void take(std::string_view value) {
    const JsonPath path = top();
    if (path == kOutput && key_ == "text") fields_.text = value;
    if (path == kWorkflowText && key_ == "content") fields_.workflow_text = value;
    if (path == kModel && key_ == "model_id" && fields_.model.empty()) fields_.model = value;
    if (is_reject_status() && value == "true") fields_.is_rejected = true;
    if (path == kThought && key_ == "thought") thought_ = value;
    if (path == kThought && key_ == "action_type") thought_type_ = value;
    if (path == kReference) return take_reference(value);
    for (const StringMember& one : kStringMembers) {
      if (one.path == path && one.key == key_) fields_.*one.member = value;
    }
  }

  void take_reference(std::string_view value) {
    auto& reference = fields_.references.back();
    unsigned index = 0;
    if (key_ == "index_id") {
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), index);
      if (error == std::errc() && end == value.data() + value.size()) Uint64(index);
    }
    if (key_ == "title" || (key_ == "doc_name" && reference.title.empty())) reference.title = value;
    if (key_ == "doc_url") reference.url = value;
  }

  AnswerFields& fields_;
  std::array<JsonPath, kMaxJsonDepth> paths_{};
  size_t depth_ = 0;
  std::string_view key_;
  std::string_view thought_;
  std::string_view thought_type_;
};

}  // namespace

std::unique_ptr<AnswerFields> parse_answer_fields(std::string& json) {
  // At once: RapidJSON would check each character of a string again as it copies it.
  if (!is_utf8(json)) return nullptr;
  if (json.find("\\uD") != std::string::npos || json.find("\\ud") != std::string::npos)
    mend_lone_surrogates(json);
  JsonReader reader;
  rapidjson::InsituStringStream stream(json.data());
  auto fields = std::make_unique<AnswerFields>();
  FieldPicker picker(*fields);
  constexpr unsigned kFlags = rapidjson::kParseInsituFlag | rapidjson::kParseIterativeFlag;
  const bool parsed = !reader.Parse<kFlags>(stream, picker).IsError();
  const bool all_read = stream.Tell() == json.size();  // a NUL byte would have ended it early
  if (!parsed || !all_read || !picker.has_root) return nullptr;
  if (fields->finish_reason == "null") fields->finish_reason = {};
  return fields;
}

}  // namespace bailian
