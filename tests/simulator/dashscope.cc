#include "dashscope.h"

#include <utility>

#include "completion_request.h"
#include "player.h"
#include "wire_format.h"

namespace bailian::simulator {
namespace {

std::string masked(std::string_view authorization) {
  constexpr std::size_t kShown = 4;
  const bool is_long = authorization.size() > 2 * kShown;
  return "Bearer ***" +
         std::string(is_long ? authorization.substr(authorization.size() - kShown) : std::string_view());
}

// To a HEAD for a path that is no endpoint. The connection stays open: contract.md §1.1.
class NoSuchPage : public Exchange {
 public:
  NoSuchPage(Connection& connection, const HttpRequest& request) {
    Headers headers = proxy_headers("application/json");
    headers.emplace_back("content-length", "0");
    connection.write(http_head(404, headers, request));
  }
  Next on_drained() override { return Next::kFinish; }
};

}  // namespace

std::unique_ptr<Exchange> DashScope::answer(Connection& connection, HttpRequest request) {
  if (connection.is_new_in(stats_.epoch())) stats_.add(Field::kConnections);
  if (request.is_head && request.header("authorization").empty()) {
    stats_.add(Field::kWarmUps);
    return std::make_unique<NoSuchPage>(connection, request);
  }
  stats_.add(Field::kRequests);
  Plan plan = planner_.plan(request);
  last_request_ = std::move(request);
  return std::make_unique<Player>(base_, connection, stats_, gate_, *last_request_, std::move(plan));
}

std::string DashScope::last_request_json() const {
  if (!last_request_) return {};
  std::string json = "{\"path\":" + json_string(last_request_->path) + ",\"headers\":{";
  for (const auto& [name, value] : last_request_->headers) {
    if (json.back() != '{') json += ',';
    append_json_string(name, json);
    json += ':';
    append_json_string(name == "authorization" ? masked(value) : value, json);
  }
  json += "},\"body\":";
  json += is_json(last_request_->body) ? last_request_->body : "null";
  return json + "}";
}

void DashScope::reset() {
  planner_.forget();
  stats_.reset();
  gate_.open();
}

}  // namespace bailian::simulator
