#include "dashscope/key_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "base/event_loop.h"
#include "dashscope/answer_fields.h"
#include "dashscope/error_codes.h"
#include "dashscope/http_client.h"

namespace bailian {
namespace {

constexpr size_t kMaxBodyBytes = size_t{256} << 10;

class QuotasRequest final : private TransferHandler {
 public:
  /// `open`: how many requests are under way. The last one that ends stops the loop.
  QuotasRequest(EventLoop& loop, const Config& config, const Target& target, std::string base_url,
                size_t& open)
      : loop_(loop),
        open_(open),
        finding_{std::move(base_url), KeyAnswer::kUnclear, {}},
        endpoint_(finding_.base_url + "/quotas",
                  {"Authorization: Bearer " + target.api_key, "Accept: application/json"}),
        client_(loop, finding_.base_url),
        time_limit_(loop, bind<&QuotasRequest::on_time_limit>(this),
                    bind<&QuotasRequest::on_exception>(this)) {
    time_limit_.start(to_duration(std::min(config.first_token_timeout, config.timeout)));
    const auto connect_timeout = std::chrono::ceil<std::chrono::milliseconds>(config.connect_timeout);
    transfer_ = client_.get(endpoint_, connect_timeout, *this);
    ++open_;
  }

  [[nodiscard]] const KeyFinding& finding() const { return finding_; }

 private:
  bool on_data(const ResponseHead&, std::string_view bytes) override {
    body_ += bytes;
    return body_.size() <= kMaxBodyBytes;
  }

  void on_done(const TransferResult& result) override {
    switch (result.fault) {
      case TransferFault::kNone: {
        const int status = result.head.status;
        return end(read_quotas(status, std::move(body_)), fmt::format("HTTP {}", status));
      }
      case TransferFault::kBroken:
        return end(KeyAnswer::kUnclear, result.detail);
      default:
        return end(KeyAnswer::kNoConnection, result.detail);
    }
  }

  // The words are short enough to need no memory.
  void on_exception(const std::exception&) noexcept override { end(KeyAnswer::kUnclear, "out of memory"); }

  void on_time_limit() { end(KeyAnswer::kUnclear, "no complete answer in time"); }

  void end(KeyAnswer answer, std::string_view detail) {
    finding_.answer = answer;
    finding_.detail = detail;
    time_limit_.cancel();
    transfer_.reset();
    if (--open_ == 0) loop_.stop();
  }

  EventLoop& loop_;
  size_t& open_;
  KeyFinding finding_;
  const RequestTemplate endpoint_;
  HttpClient client_;
  std::string body_;
  std::unique_ptr<Transfer> transfer_;
  Timer time_limit_;
};

}  // namespace

KeyAnswer read_quotas(int http_status, std::string body) {
  const auto fields = parse_answer_fields(body);
  if (!fields) return KeyAnswer::kUnclear;
  if (http_status == 200 && fields->has_output && fields->code.empty()) return KeyAnswer::kAccepted;
  // With a status of 400 the code alone decides.
  const auto by_code = classify_error(400, fields->code, fields->message, {});
  return http_status >= 400 && by_code.fault == UpstreamFault::kAuth ? KeyAnswer::kRefused
                                                                     : KeyAnswer::kUnclear;
}

std::vector<KeyFinding> ask_quotas(const Config& config, const Target& target,
                                   const std::vector<std::string>& base_urls) {
  EventLoop loop(std::chrono::nanoseconds::zero());
  size_t open = 0;
  std::vector<std::unique_ptr<QuotasRequest>> requests;
  requests.reserve(base_urls.size());
  for (const std::string& base_url : base_urls)
    requests.push_back(std::make_unique<QuotasRequest>(loop, config, target, base_url, open));
  if (!requests.empty()) loop.run();
  std::vector<KeyFinding> findings;
  findings.reserve(requests.size());
  for (const auto& request : requests) findings.push_back(request->finding());
  return findings;
}

}  // namespace bailian
