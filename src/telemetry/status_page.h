#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "telemetry/status_board.h"

namespace bailian {

/// The query of `/status?...`: `json` instead of text, `full` for a row for each live chat. Other words have
/// no effect.
struct StatusQuery {
  bool json = false;
  bool full = false;
};
StatusQuery parse_status_query(std::string_view query);

/// A name and a value of the page's upper part. In JSON, each space of the name is a `_`. No std::string:
/// when memory is exhausted, the copy of such a variant is undefined behaviour in libstdc++ 12.
using StatusFigure = std::pair<std::string_view, std::variant<uint64_t, std::string_view>>;

/// A bot and its chats in progress.
struct StatusBot {
  std::string_view name;
  std::string_view application;  // the id of the first; empty: not configured
  uint64_t streams;
  uint64_t limit;  // 0: none of its own
};

/// A target of a bot that has several.
struct StatusTarget {
  std::string_view bot;
  int number;
  std::string_view state;
  uint64_t rests_for;            // seconds; 0: it does not rest
  std::string_view application;  // its id; empty: not configured
  std::string_view host;         // of its base URL, with the port
};

/// The upper part of the page.
struct StatusOverview {
  std::vector<StatusFigure> figures;
  std::vector<StatusBot> bots;
  std::vector<StatusTarget> targets;
  std::string ledger{};  // in the form of the query: a text, or a JSON object; empty: there is none
};

/// Writes the page in pieces, as there may be many chats: the figures, then the bots if there are several,
/// then their targets, the ledger, then one row for each chat if the query is `full`, then the end.
class StatusWriter {
 public:
  explicit StatusWriter(StatusQuery query) : query_(query) {}

  void start(const StatusOverview& overview);
  void add(const ChatView& chat);
  /// Returns the whole page.
  std::string finish();

 private:
  const StatusQuery query_;
  bool has_rows_ = false;
  std::string page_;
};

}  // namespace bailian
