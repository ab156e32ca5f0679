#include "answer_script.h"

#include <array>
#include <utility>

namespace bailian::simulator {
namespace {

constexpr std::array<std::string_view, 3> kReasoning = {"嗯", "，先看看问题，", "再回答。"};

constexpr std::string_view kFirstReference =
    R"({"text":"【文档名】:售后手册\n【正文】:七天内可无理由退货。\n","index_id":"1","title":"售后手册","doc_name":"售后手册","doc_id":"file_0000000000000000000000000000aaaa_1"})";
constexpr std::string_view kSecondReference =
    R"({"text":"【文档名】:运费说明\n【正文】:退货运费由买家承担。\n","index_id":"2","title":"运费说明","doc_name":"运费说明","doc_id":"file_0000000000000000000000000000bbbb_1","images":[],"page_number":[3]})";

std::string references(bool first, bool second) {
  if (!first) return {};
  std::string list = "[" + std::string(kFirstReference);
  if (second) list.append(",").append(kSecondReference);
  return list + "]";
}

// A reasoning step has the same text in `thought` and in `response`: contract.md §3.4.
std::string reasoning(std::string_view text) {
  const std::string quoted = json_string(text);
  return R"([{"action":"reasoning","thought":)" + quoted + R"(,"action_type":"reasoning","response":)" +
         quoted + R"(,"action_name":"思考过程"}])";
}

std::string end_node_message(std::string_view text, bool completed) {
  std::string message = R"({"node_status":")";
  message += completed ? "success" : "executing";
  message += R"(","node_type":"End","node_msg_seq_id":0,"node_name":"结束","message":{"content":)";
  append_json_string(text, message);
  message += R"(,"role":"assistant"},"node_is_completed":)";
  message += completed ? "true" : "false";
  return message + R"(,"node_id":"End_bYxoRU"})";
}

// JSON inside a JSON string: contract.md §3.5, full_thoughts.
std::string node(std::string_view name, std::string_view type, std::string_view status, std::string_view id,
                 std::string_view time, std::string_view result) {
  std::string inner = R"({"nodeName":")" + std::string(name) + R"(","nodeType":")" + std::string(type) +
                      R"(","nodeStatus":")" + std::string(status) + R"(","nodeId":")" + std::string(id) +
                      R"(","nodeExecTime":")" + std::string(time) + '"';
  if (!result.empty()) inner += R"(,"nodeResult":)" + json_string(result);
  return R"({"response":)" + json_string(inner + "}") + "}";
}

// The list after `step` of its three steps, which ends with the answer of the LLM node.
std::string nodes(std::size_t step, std::string_view text) {
  const std::string result = R"({"result":)" + json_string(text) + "}";
  std::string list = "[" + node("开始", "Start", "success", "Start_a1", "0ms", "");
  if (step == 1) list += "," + node("大模型", "LLM", "executing", "LLM_b2", "0ms", "");
  if (step >= 2) list += "," + node("大模型", "LLM", "success", "LLM_b2", "812ms", result);
  if (step >= 3) list += "," + node("结束", "End", "success", "End_c3", "1ms", result);
  return list + "]";
}

constexpr std::size_t kNodeSteps = 3;

}  // namespace

AnswerScript::AnswerScript(Answer answer)
    : answer_(std::move(answer)), finish_json_(json_string(answer_.finish)) {}

std::size_t AnswerScript::text_events() const {
  if (answer_.mode == Mode::kFullThoughts) return 0;
  const bool last_is_stop = answer_.text_in_last_event && answer_.stops && answer_.pieces.size() > 0;
  return answer_.pieces.size() - (last_is_stop ? 1 : 0);
}

Step AnswerScript::next(std::string& out) {
  if (stopped_) return Step::kFinished;
  if (answer_.mode == Mode::kFullThoughts && thoughts_sent_ < kNodeSteps) return next_node(out);
  if (answer_.mode == Mode::kThoughts && thoughts_sent_ < kReasoning.size()) return next_thought(out);
  if (pieces_sent_ < text_events()) {
    return answer_.mode == Mode::kMessageFormat ? next_workflow_piece(out) : next_text(out);
  }
  if (answer_.mode == Mode::kMessageFormat && !node_closed_) return next_workflow_piece(out);
  if (answer_.stops) return stop(out);
  stopped_ = true;
  return Step::kFinished;
}

Output AnswerScript::unfinished() const {
  Output output;
  output.finish_reason = answer_.null_finish ? "null" : R"("null")";
  return output;
}

void AnswerScript::append_event(const Output& output, std::string& out) {
  append_result_event(++id_, answer_.identity, output, out);
}

Step AnswerScript::next_thought(std::string& out) {
  scratch_ = reasoning(kReasoning.at(thoughts_sent_++));
  Output output = unfinished();
  output.thoughts = scratch_;
  output.text = "";
  output.output_tokens = output_tokens();
  append_event(output, out);
  return Step::kOther;
}

Step AnswerScript::next_text(std::string& out) {
  if (!answer_.cumulative) text_.clear();
  answer_.pieces.append_piece(pieces_sent_++, text_);
  Output output = unfinished();
  output.text = text_;
  output.output_tokens = output_tokens();
  if (answer_.mode == Mode::kThoughts) {
    scratch_ = reasoning("");
    output.thoughts = scratch_;
  }
  if (answer_.mode == Mode::kRag) {
    scratch_ = references(pieces_sent_ > answer_.first_reference, pieces_sent_ > answer_.second_reference);
    output.doc_references = scratch_;
  }
  append_event(output, out);
  return Step::kText;
}

// Always incremental, regardless of incremental_output; the last one of the node is empty.
Step AnswerScript::next_workflow_piece(std::string& out) {
  node_closed_ = pieces_sent_ >= text_events();
  text_.clear();
  if (!node_closed_) answer_.pieces.append_piece(pieces_sent_++, text_);
  scratch_ = end_node_message(text_, node_closed_);
  Output output = unfinished();
  output.workflow_message = scratch_;
  append_event(output, out);
  return node_closed_ ? Step::kOther : Step::kText;
}

Step AnswerScript::next_node(std::string& out) {
  scratch_ = nodes(thoughts_sent_++, answer_.pieces.whole());
  Output output = unfinished();
  output.thoughts = scratch_;
  append_event(output, out);
  return Step::kOther;
}

Step AnswerScript::stop(std::string& out) {
  stopped_ = true;
  const bool is_workflow = answer_.mode == Mode::kMessageFormat || answer_.mode == Mode::kFullThoughts;
  if (is_workflow) {
    text_ = answer_.pieces.whole();
  } else {
    if (!answer_.cumulative) text_.clear();
    if (pieces_sent_ < answer_.pieces.size()) answer_.pieces.append_piece(pieces_sent_++, text_);
  }
  Output output;
  output.finish_reason = finish_json_;
  output.text = text_;
  output.output_tokens = output_tokens();
  if (answer_.mode == Mode::kThoughts) scratch_ = reasoning("");
  if (answer_.mode == Mode::kFullThoughts) {
    scratch_ = nodes(kNodeSteps, text_);
    output.output_tokens.reset();
  }
  if (answer_.mode == Mode::kThoughts || answer_.mode == Mode::kFullThoughts) output.thoughts = scratch_;
  if (answer_.mode == Mode::kRag) {
    scratch_ = references(true, true);
    output.doc_references = scratch_;
  }
  append_event(output, out);
  return Step::kOther;
}

std::string answer_body(const Answer& answer) {
  const std::string text = answer.pieces.whole();
  const std::string finish = answer.stops         ? json_string(answer.finish)
                             : answer.null_finish ? "null"
                                                  : R"("null")";
  std::string extra;
  Output output;
  output.finish_reason = finish;
  output.text = text;
  output.output_tokens = answer.pieces.size();
  switch (answer.mode) {
    case Mode::kAgent:
      break;
    case Mode::kThoughts:
      output.thoughts = extra = reasoning("嗯，先看看问题，再回答。");
      break;
    case Mode::kRag:
      output.doc_references = extra = references(true, true);
      break;
    case Mode::kFullThoughts:
      output.thoughts = extra = nodes(kNodeSteps, text);
      [[fallthrough]];
    case Mode::kMessageFormat:
      output.output_tokens.reset();
  }
  return answer_json(answer.identity, output);
}

}  // namespace bailian::simulator
