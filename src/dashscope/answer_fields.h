#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/access_record.h"

namespace bailian {

/// The members that we use of one answer object: the data of a stream's event, or a whole JSON answer. The
/// views point into the text that was parsed.
struct AnswerFields {
  struct Reference {  // output.doc_references[]
    int index = 0;    // 0 when there is no valid one
    std::string_view title;
    std::string_view url;
  };

  bool has_output = false;
  std::optional<std::string_view> text;           // output.text
  std::optional<std::string_view> workflow_text;  // output.workflow_message.message.content
  std::string_view workflow_node_type;
  std::string thought;  // the model's, from output.thoughts; without other steps of the application
  std::vector<Reference> references;
  std::string_view finish_reason;  // empty until the answer ends
  std::string_view session_id;
  std::string_view request_id;
  std::string_view code;
  std::string_view message;
  std::string_view model;
  bool is_rejected = false;  // output.reject_status
  bool has_usage = false;
  Usage usage;  // of all models together
};

/// Parses in place, which overwrites `json`. Skips unknown members, unexpected types and nulls; half a
/// surrogate pair becomes U+FFFD. Returns nothing unless it is one JSON object in valid UTF-8 that is at most
/// kMaxJsonDepth deep.
std::unique_ptr<AnswerFields> parse_answer_fields(std::string& json);

}  // namespace bailian
