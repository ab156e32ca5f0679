#include "commands/key_advice.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/key_mask.h"
#include "settings/settings_table.h"

namespace bailian {
namespace {

constexpr auto kAddresses = std::to_array<std::string_view>({
    "https://dashscope.aliyuncs.com/api/v1",
    "https://dashscope-intl.aliyuncs.com/api/v1",
    "https://dashscope-us.aliyuncs.com/api/v1",
    "https://cn-hongkong.dashscope.aliyuncs.com/api/v1",
});

// WORKSPACE.REGION.maas.aliyuncs.com
bool is_of_workspace(std::string_view base_url) {
  return base_url.starts_with("https://") && base_url.ends_with(".maas.aliyuncs.com/api/v1") &&
         std::ranges::count(base_url, '/') == 4;
}

bool has(const std::vector<KeyFinding>& findings, KeyAnswer answer) {
  return std::ranges::find(findings, answer, &KeyFinding::answer) != findings.end();
}

}  // namespace

bool has_no_connection(const UpstreamError& error) {
  return error.code == "connect_failed" || error.code == "connect_timeout" || error.code == "tls_failed";
}

bool is_about_access(const UpstreamError& error) {
  return error.fault == UpstreamFault::kAuth || error.fault == UpstreamFault::kApp;
}

std::vector<std::string> other_addresses(std::string_view base_url) {
  const bool is_known = std::ranges::find(kAddresses, base_url) != kAddresses.end();
  if (!is_known && !is_of_workspace(base_url)) return {};
  std::vector<std::string> others(kAddresses.begin(), kAddresses.end());
  std::erase(others, base_url);
  return others;
}

std::string describe(const KeyFinding& finding, std::string_view api_key) {
  const auto words = [&]() -> std::string {
    switch (finding.answer) {
      case KeyAnswer::kAccepted:
        return "accepts the key";
      case KeyAnswer::kRefused:
        return "refuses the key";
      case KeyAnswer::kUnclear:
        return fmt::format("says nothing about the key ({})", scrub(finding.detail, api_key));
      case KeyAnswer::kNoConnection:
        return fmt::format("cannot be reached ({})", scrub(finding.detail, api_key));
    }
    return {};
  };
  return fmt::format("{} {}", finding.base_url, words());
}

std::string key_advice(const Target& target, const std::vector<KeyFinding>& findings) {
  if (findings.empty()) return {};
  const auto name = [&target](std::string_view key) { return numbered(key, target.number); };
  const KeyFinding& first = findings.front();
  const bool asked_own = first.base_url == target.base_url;
  if (asked_own && first.answer == KeyAnswer::kAccepted) {
    return fmt::format(
        "The key is right for this address. Check {}, whether the application is published, and {}: the "
        "application may be in another workspace than the key.",
        name("APP_ID"), name("DASHSCOPE_WORKSPACE"));
  }
  const auto accepts = std::ranges::find(findings, KeyAnswer::kAccepted, &KeyFinding::answer);
  if (accepts != findings.end()) {
    return fmt::format(
        "If the application is in the region that accepts the key, set {}={}. If not, put a key of the "
        "application's region into {}.",
        name("DASHSCOPE_BASE_URL"), accepts->base_url, name("DASHSCOPE_API_KEY"));
  }
  if (asked_own && first.answer == KeyAnswer::kRefused) {
    return fmt::format(
        "Copy the key from the console into {} again. If it is a key of another region, set {} to the "
        "address of that region.",
        name("DASHSCOPE_API_KEY"), name("DASHSCOPE_BASE_URL"));
  }
  if (asked_own) return {};
  if (has(findings, KeyAnswer::kRefused) || has(findings, KeyAnswer::kUnclear)) {
    return fmt::format("This machine reaches other addresses. Check {}, and whether a firewall blocks it.",
                       name("DASHSCOPE_BASE_URL"));
  }
  return "This machine reaches none of these addresses. Check its DNS, firewall, clock and certificates "
         "(ca-certificates).";
}

}  // namespace bailian
