#pragma once

#include <cstddef>
#include <string>

#include "directive.h"
#include "pieces.h"
#include "script.h"
#include "wire_format.h"

namespace bailian::simulator {

struct Answer {
  Identity identity;
  Pieces pieces;
  Mode mode = Mode::kAgent;
  bool cumulative = false;          // each event repeats the text so far: contract.md §3.3
  bool null_finish = false;         // unfinished events say null, not "null"
  bool text_in_last_event = false;  // no last event with an empty text
  bool stops = true;                // there is a last event
  std::string finish = "stop";
  // With mode=rag, the piece from which the first and the second reference are listed.
  std::size_t first_reference = 1;
  std::size_t second_reference = 2;
};

// A successful answer as server-sent events.
class AnswerScript : public Script {
 public:
  explicit AnswerScript(Answer answer);

  Step next(std::string& out) override;
  std::size_t text_events() const override;

 private:
  Step next_thought(std::string& out);
  Step next_text(std::string& out);
  Step next_workflow_piece(std::string& out);
  Step next_node(std::string& out);
  Step stop(std::string& out);
  void append_event(const Output& output, std::string& out);
  Output unfinished() const;
  std::size_t output_tokens() const { return thoughts_sent_ + pieces_sent_; }

  Answer answer_;
  std::string finish_json_;
  std::string text_;     // of the current event, or all text so far
  std::string scratch_;  // a member of it that is an object or an array
  std::size_t id_ = 0;
  std::size_t pieces_sent_ = 0;
  std::size_t thoughts_sent_ = 0;  // or nodes, with mode=full_thoughts
  bool node_closed_ = false;
  bool stopped_ = false;
};

// The same as one JSON body.
std::string answer_body(const Answer& answer);

}  // namespace bailian::simulator
