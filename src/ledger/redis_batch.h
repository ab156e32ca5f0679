#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ledger/lease_account.h"
#include "ledger/period.h"
#include "ledger/redis_reply.h"
#include "ledger/report.h"

namespace bailian {

// What a host tells the server, and what the server answers: the words of redis_script(). Pure.

/// 20261127, as keys have it.
std::string compact_date(Day day);
/// Nothing: it is no date.
std::optional<Day> parse_compact_date(std::string_view text);
/// The name of a bot in a key: what is not a letter, a digit, '-', '_' or '.' as %XX.
std::string escape_bot(std::string_view bot);

/// How the server refuses a lease, or an extension for tokens that are used already.
enum class RedisRefusal { kNone, kVisitor, kDay, kMonth, kPaused };

/// Caps of the scopes of an answer; kNoCap: none.
struct RedisCaps {
  uint64_t bot_day = kNoCap;
  uint64_t bot_month = kNoCap;
  uint64_t visitor_day = kNoCap;
  uint64_t total_day = kNoCap;
  uint64_t total_month = kNoCap;
  [[nodiscard]] bool any() const {
    return bot_day != kNoCap || bot_month != kNoCap || visitor_day != kNoCap || total_day != kNoCap ||
           total_month != kNoCap;
  }
};

struct RedisBatch {
  struct Count {
    Day day;
    std::string bot;
    int64_t committed = 0;  // below zero: leases that are given back
    int64_t input = 0, output = 0, estimated = 0;
    int64_t answers = 0, cached = 0, refused = 0;
    [[nodiscard]] bool is_nothing() const {
      return committed == 0 && input == 0 && output == 0 && estimated == 0 && answers == 0 && cached == 0 &&
             refused == 0;
    }
  };
  struct VisitorCount {
    Day day;
    std::string visitor;  // his hash
    int64_t committed;
  };
  struct Open {
    Day day;
    std::string bot;
    uint64_t tokens, leases;
  };
  struct AddedInput {
    std::string bot;
    uint64_t tokens;
  };
  struct Order {
    std::string what;  // pause, resume, open, alert
    std::string bot;
    std::string a, b;
  };
  struct Lease {
    bool is_extension;
    Day day;
    std::string bot;
    std::string visitor;  // empty: he has no cap
    uint64_t input;       // expected tokens
    uint64_t slice;
    uint64_t left;     // of an extension: granted and not used
    uint64_t missing;  // likewise: used and not granted
    RedisCaps caps;
  };
  struct Memory {
    std::string key;  // without {bailian}:
    std::string field, value;
  };

  std::vector<Count> counts;
  std::vector<VisitorCount> visitors;
  std::vector<Open> open;
  std::vector<AddedInput> inputs;
  std::vector<Order> orders;
  std::vector<Lease> leases;
  /// Executed twice it would change nothing.
  [[nodiscard]] bool is_nothing() const {
    return counts.empty() && visitors.empty() && inputs.empty() && orders.empty() && leases.empty();
  }
};

/// About the host and its moment, beside the batch.
struct RedisHeader {
  std::string host;
  uint64_t sequence = 0;
  std::string epoch;  // of the data as the host knows them; empty: not yet
  Day day = 0;
  std::chrono::milliseconds lease_time{};  // how long its leases hold without it
  uint64_t opened = 0;
  std::string new_visitor_key, new_epoch;  // if there is none
  bool leaves = false;
};

/// The words after EVALSHA SHA 1 KEY. `memory`: the data were lost, and this is known of them. `totals`: the
/// bots of which totals are wanted, "" for all together; none: none are.
std::vector<std::string> redis_batch_words(const RedisHeader& header, const RedisBatch& batch,
                                           const std::vector<RedisBatch::Memory>* memory,
                                           const std::vector<std::string>& totals);

struct RedisTotals {
  struct Period {
    uint64_t committed = 0;
    Spent spent;
    int alerted_percent = 0;
    bool has_refused = false;
    bool has_refused_visitor = false;  // by his own cap
    uint64_t leased = 0;
  };
  Period day, month;
  uint64_t open_leases = 0;
  std::optional<uint64_t> added_input;  // the most of the last answers
  bool is_paused = false;
  bool is_paused_at_once = false;
  std::string pause_message;
};

struct RedisBatchReply {
  enum class Status {
    kDone,
    kOtherDay,  // nothing was done: the batch must be of `day`
    kLost       // nothing was done: the server's data are not those that the host knows
  };
  Status status = Status::kDone;
  int64_t time_ms = 0;  // the server's, since 1970
  std::string epoch;
  Day day = 0;  // 0: none has begun
  uint64_t opened = 0;
  std::string visitor_key;
  std::vector<bool> orders;     // whether each changed anything
  std::vector<int64_t> grants;  // tokens; below zero: a RedisRefusal
  std::vector<RedisTotals> totals;
};

/// Nothing: it is no answer to a batch with so many orders, leases and totals.
std::optional<RedisBatchReply> parse_redis_batch_reply(const RedisReply& reply, size_t orders, size_t leases,
                                                       size_t totals);

/// A random number of so many 32-bit words, in hexadecimal.
std::string random_hex(size_t words);

/// What a refused grant means; kNone of any other.
RedisRefusal redis_refusal(int64_t grant);

/// The fields of {bailian}:day:DATE that are of one bot.
Spent spent_in_hash(const RedisReply& hash, std::string_view escaped_bot);

}  // namespace bailian
