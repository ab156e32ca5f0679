#include "dashscope/answer_fields.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/json.h"

namespace bailian {
namespace {

using rapidjson::SizeType;

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

}  // namespace

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

}  // namespace bailian
