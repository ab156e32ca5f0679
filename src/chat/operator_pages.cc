#include "chat/operator_pages.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/text.h"
#include "ledger/report_json.h"
#include "ledger/report_text.h"
#include "telemetry/status_exchange.h"

namespace bailian {
namespace {

Reply state_reply(int status, std::string_view state) {
  return {status,
          {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}},
          fmt::format(R"({{"status":"{}","service":"Bailian-chatbot-backend","version":"{}"}})", state,
                      BAILIAN_VERSION)};
}

std::vector<TargetGauge> target_gauges(const ConfigSnapshot& snapshot) {
  const auto now = Clock::now();
  std::vector<TargetGauge> targets;
  for (const Bot& bot : snapshot.bots) {
    for (const DashScopeClient& client : bot.upstream.clients())
      targets.push_back({bot.name, client.target().number,
                         client.health().view(now).state == TargetHealth::State::kCooling});
  }
  return targets;
}

LedgerGauges ledger_gauges(const LedgerReport& report) {
  LedgerGauges gauges;
  gauges.has_fault = !report.fault.empty();
  const bool all_are_paused =
      std::ranges::any_of(report.bots, [](const BotReport& bot) { return bot.bot.empty() && bot.is_paused; });
  for (const BotReport& bot : report.bots) {
    for (const CapState& cap : bot.caps) {
      CapGauge gauge = {cap.scope, bot.bot, cap.period, cap.limit, {}, {}, cap.alerted_percent};
      if (cap.scope != "visitor") {
        gauge.used = cap.used;
        gauge.leased = cap.leased;
      }
      gauges.caps.push_back(gauge);
    }
    if (bot.bot.empty()) continue;
    const bool was_used_today = !bot.days.empty() && bot.days.front().date == report.day;
    gauges.bots.push_back({bot.bot, bot.is_paused || all_are_paused, bot.open_leases,
                           was_used_today ? bot.days.front().spent.estimated_tokens : 0});
  }
  return gauges;
}

// Of the running day.
std::string ledger_page(const ServiceState& state, const StatusQuery& query) {
  if (state.ledger == nullptr) return "";
  const LedgerReport report = state.ledger->report(1);
  return query.json ? report_json(report) : report_text(report);
}

// The figures at the top of the status page.
std::vector<StatusFigure> status_figures(const ServiceState& state) {
  const StatusBoard& board = state.board;
  const Totals totals = state.metrics.totals();
  const auto ended = [&totals](Outcome outcome) { return totals.requests.at(static_cast<size_t>(outcome)); };
  const auto uptime = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - board.started);
  return {{"program", "bailian-fcgi"},
          {"version", BAILIAN_VERSION},
          {"pid", static_cast<uint64_t>(::getpid())},
          {"start time", board.start_time},
          {"uptime", static_cast<uint64_t>(uptime.count())},
          {"state", state.draining        ? "draining"
                    : state.misconfigured ? "misconfigured"
                                          : "accepting"},
          {"listening", board.address},
          {"workers", static_cast<uint64_t>(board.loops().size())},
          {"active streams", static_cast<uint64_t>(state.streams.taken())},
          {"max active streams", static_cast<uint64_t>(state.streams.peak())},
          {"max streams", static_cast<uint64_t>(state.streams.limit())},
          {"connections", board.sum(&LoopBoard::connections)},
          {"requests", board.sum(&LoopBoard::requests)},
          {"requests done", ended(Outcome::kDone)},
          {"requests error", ended(Outcome::kError)},
          {"requests timeout", ended(Outcome::kTimeout)},
          {"requests client gone", ended(Outcome::kClientGone)},
          {"requests rejected", board.sum(&LoopBoard::rejected)},
          {"input tokens", totals.input_tokens},
          {"output tokens", totals.output_tokens},
          {"upstream errors", totals.upstream_errors},
          {"retries", totals.retries},
          {"reloads", totals.reloads},
          {"failed reloads", totals.failed_reloads}};
}

std::vector<StatusBot> status_bots(const ConfigSnapshot& snapshot) {
  std::vector<StatusBot> bots;
  for (const Bot& bot : snapshot.bots) {
    bots.push_back({bot.name, bot.config.targets.front().app_id, static_cast<uint64_t>(bot.streams.taken()),
                    &bot == &snapshot.bots.front() ? 0 : static_cast<uint64_t>(bot.config.max_streams)});
  }
  return bots;
}

std::string_view word_of(TargetHealth::State state) {
  switch (state) {
    case TargetHealth::State::kWell:
      return "well";
    case TargetHealth::State::kCooling:
      return "cooling";
    case TargetHealth::State::kDue:
      return "due";
    case TargetHealth::State::kProbing:
      return "probing";
  }
  assert(false);
  return "";
}

std::string_view host_in(std::string_view url) {
  url.remove_prefix(url.find("://") + 3);
  return split_off(url, '/');
}

StatusTarget status_target(const Bot& bot, const Target& target, Clock::time_point now) {
  StatusTarget row = {bot.name, target.number, "not asked", 0, target.app_id, host_in(target.base_url)};
  const auto& clients = bot.upstream.clients();
  const auto client = std::ranges::find(clients, target.number,
                                        [](const DashScopeClient& one) { return one.target().number; });
  if (client == clients.end()) return row;
  const auto [state, until] = client->health().view(now);
  row.state = word_of(state);
  if (state == TargetHealth::State::kCooling)
    row.rests_for = static_cast<uint64_t>(std::chrono::ceil<std::chrono::seconds>(until - now).count());
  return row;
}

// Those of bots with several.
std::vector<StatusTarget> status_targets(const ConfigSnapshot& snapshot) {
  const auto now = Clock::now();
  std::vector<StatusTarget> targets;
  for (const Bot& bot : snapshot.bots) {
    if (bot.config.targets.size() == 1) continue;
    for (const Target& target : bot.config.targets) targets.push_back(status_target(bot, target, now));
  }
  return targets;
}

}  // namespace

Reply health_page(const ServiceState& state) {
  if (state.draining) return state_reply(200, "draining");
  return state_reply(200, state.misconfigured ? "misconfigured" : "healthy");
}

Reply ready_page(const ServiceState& state, const Config& config) {
  if (state.draining) return state_reply(503, "draining");
  if (state.misconfigured) return state_reply(503, "misconfigured");
  const bool is_needed = state.ledger != nullptr && has_caps(config) && !config.caps_open_on_fault;
  if (is_needed && !state.ledger->fault().empty()) return state_reply(503, "budget_unknown");
  return state_reply(200, "ready");
}

Reply metrics_page(const ServiceState& state, const ConfigSnapshot& snapshot) {
  Gauges gauges = {state.streams.taken(), state.streams.limit(), lost_log_writes(), target_gauges(snapshot)};
  LedgerReport report;  // outlives the gauges
  if (state.ledger != nullptr) {
    report = state.ledger->report(1);
    gauges.ledger = ledger_gauges(report);
  }
  return {200, {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}}, state.metrics.text(gauges)};
}

std::unique_ptr<Exchange> status_page(EventLoop& loop, const ServiceState& state,
                                      const ConfigSnapshot& snapshot, const Request& request,
                                      ClientStream& client, const Headers& headers) {
  const StatusQuery query = parse_status_query(request.query);
  const StatusOverview overview = {status_figures(state), status_bots(snapshot), status_targets(snapshot),
                                   ledger_page(state, query)};
  return std::make_unique<StatusExchange>(loop, state.board, overview, client, query, headers);
}

}  // namespace bailian
