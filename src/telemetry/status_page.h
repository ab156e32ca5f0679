#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "telemetry/status_board.h"

namespace bailian {

enum class StatusFormat { kText, kJson, kHtml };

/// What `/status?...` asks for: `json` or `html` in place of text, `full` for a line on each chat under way.
struct StatusQuery {
  StatusFormat format = StatusFormat::kText;
  bool full = false;
};
StatusQuery parse_status_query(std::string_view query);

std::string_view content_type(StatusFormat format);

/// A name and a value of the page's upper part. In JSON a name has `_` for each space.
using StatusFigure = std::pair<std::string_view, std::variant<uint64_t, std::string>>;

/// The page is written in pieces, as there may be many chats: the start, a row for each chat when all is
/// asked for, the end.
class StatusWriter {
 public:
  explicit StatusWriter(StatusQuery query) : query_(query) {}

  void start(const std::vector<StatusFigure>& figures);
  void add(const ChatView& chat);
  /// The whole page.
  std::string finish();

 private:
  const StatusQuery query_;
  bool has_rows_ = false;
  std::string page_;
};

}  // namespace bailian
