#include "wire_format.h"

#include <array>
#include <charconv>

namespace bailian::simulator {
namespace {

constexpr std::string_view kModel = R"("model_id":"qwen-plus")";

void append_number(std::size_t number, std::string& out) {
  std::array<char, 20> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  out.append(digits.data(), end);
}

void append_escaped(char c, std::string& out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  switch (c) {
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    default:
      out += "\\u00";
      out += kHex[static_cast<unsigned char>(c) >> 4U];
      out += kHex[static_cast<unsigned char>(c) & 15U];
  }
}

void append_member(std::string_view name_and_colon, std::string_view value, std::string& out) {
  if (value.empty()) return;
  if (out.back() != '{') out += ',';
  out += name_and_colon;
  out += value;
}

void append_session(std::string_view session_id, std::string& out) {
  if (out.back() != '{') out += ',';
  out += R"("session_id":)";
  append_json_string(session_id, out);
}

void append_usage(std::size_t input_tokens, std::optional<std::size_t> output_tokens, std::string& out) {
  out += R"(,"usage":{)";
  if (output_tokens) {
    out += R"("models":[{"input_tokens":)";
    append_number(input_tokens, out);
    out += R"(,"output_tokens":)";
    append_number(*output_tokens, out);
    out += ',';
    out += kModel;
    out += "}]";
  }
  out += '}';
}

void append_request_id(std::string_view request_id, std::string& out) {
  out += R"(,"request_id":")";
  out += request_id;
  out += "\"}";
}

void append_text(const Output& output, std::string& out) {
  if (!output.text) return;
  out += R"(,"text":)";
  append_json_string(*output.text, out);
}

}  // namespace

void append_json_string(std::string_view text, std::string& out) {
  out += '"';
  std::size_t done = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text, done, i - done);
    append_escaped(text[i], out);
    done = i + 1;
  }
  out.append(text, done);
  out += '"';
}

std::string json_string(std::string_view text) {
  std::string result;
  append_json_string(text, result);
  return result;
}

void append_result_event(std::size_t id, const Identity& identity, const Output& output, std::string& out) {
  out += "id:";
  append_number(id, out);
  out += "\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{";
  append_member(R"("thoughts":)", output.thoughts, out);
  append_session(identity.session_id, out);
  append_member(R"("workflow_message":)", output.workflow_message, out);
  append_member(R"("finish_reason":)", output.finish_reason, out);
  append_text(output, out);
  append_member(R"("doc_references":)", output.doc_references, out);
  out += '}';
  append_usage(identity.input_tokens, output.output_tokens, out);
  append_request_id(identity.request_id, out);
  out += "\n\n";
}

std::string error_event(std::size_t id, int status, std::string_view error_json) {
  std::string event =
      "id:" + std::to_string(id) + "\nevent:error\n:HTTP_STATUS/" + std::to_string(status) + "\ndata:";
  event += error_json;
  return event + "\n\n";
}

std::string answer_json(const Identity& identity, const Output& output) {
  std::string out = R"({"output":{)";
  append_member(R"("thoughts":)", output.thoughts, out);
  append_member(R"("finish_reason":)", output.finish_reason, out);
  append_session(identity.session_id, out);
  append_text(output, out);
  append_member(R"("doc_references":)", output.doc_references, out);
  out += R"(},"usage":{)";
  if (output.output_tokens) {
    out += R"("models":[{"output_tokens":)";
    append_number(*output.output_tokens, out);
    out += ',';
    out += kModel;
    out += R"(,"input_tokens":)";
    append_number(identity.input_tokens, out);
    out += "}]";
  }
  out += '}';
  append_request_id(identity.request_id, out);
  return out;
}

std::string error_json(std::string_view code, std::string_view message, std::string_view request_id) {
  std::string out = R"({"code":)";
  append_json_string(code, out);
  out += R"(,"message":)";
  append_json_string(message, out);
  append_request_id(request_id, out);
  return out;
}

}  // namespace bailian::simulator
