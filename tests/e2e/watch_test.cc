// The alert rules and the dashboard use metrics that exist, and deploy/monitoring.md describes all of them.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

#include "harness/answer.h"
#include "harness/site.h"

namespace bailian::e2e {
namespace {

using Names = std::set<std::string>;

bool is_of_a_name(char c) { return (c >= 'a' && c <= 'z') || c == '_'; }

Names names_in(std::string_view text) {
  Names names;
  for (size_t at = 0; at < text.size(); ++at) {
    const auto rest = text.substr(at);
    const auto end = std::find_if_not(rest.begin(), rest.end(), is_of_a_name);
    const std::string word(rest.begin(), end);
    if (word.starts_with("bailian_") || word.starts_with("process_")) names.insert(word);
    at += word.size();
  }
  return names;
}

// The metrics in the table of deploy/monitoring.md.
Names names_in_rows(const std::string& text) {
  std::istringstream lines(text);
  Names names;
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("| `bailian_") || line.starts_with("| `process_")) names.merge(names_in(line));
  return names;
}

// The names after "# TYPE ".
Names families_in(const std::string& metrics) {
  std::istringstream lines(metrics);
  Names names;
  const std::string type = "# TYPE ";
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(type))
      names.insert(line.substr(type.size(), line.find(' ', type.size()) - type.size()));
  return names;
}

// A series of a histogram has a suffix.
std::string family_of(const std::string& series, const Names& families) {
  for (const char* suffix : {"_bucket", "_count", "_sum"}) {
    if (!series.ends_with(suffix)) continue;
    auto family = series.substr(0, series.size() - std::string_view(suffix).size());
    if (families.contains(family)) return family;
  }
  return series;
}

class Watch : public testing::Test {
 protected:
  // After all kinds of traffic, so that no family is empty.
  Watch() {
    read_stream(site_.stream("[[sim events=3]]"));
    // Both targets fail.
    site_.ask("[[sim status=401 code=InvalidApiKey framing=json]]");
    metrics_ = site_.get("/metrics").body;
  }

  Site site_{{.settings = {{"APP_ID_2", "fedcba9876543210fedcba9876543210"}}}};
  std::string metrics_;
};

TEST_F(Watch, AlertsAndDashboardAskForWhatThereIs) {
  const auto families = families_in(metrics_);
  for (const char* file : {"deploy/prometheus-alerts.yml", "deploy/grafana-dashboard.json"}) {
    const auto asked = names_in(read_file(file));
    EXPECT_GT(asked.size(), 5U) << file;
    for (const auto& name : asked)
      EXPECT_TRUE(families.contains(family_of(name, families))) << name << " in " << file;
  }
}

TEST_F(Watch, MonitoringNamesEveryFamilyAndNoOther) {
  const auto families = families_in(metrics_);
  for (const char* file : {"deploy/monitoring.md", "deploy/monitoring.zh-CN.md"})
    EXPECT_EQ(names_in_rows(read_file(file)), families) << file;
}

TEST_F(Watch, TheDashboardShowsEveryFamilyOfOurs) {
  const auto families = families_in(metrics_);
  Names shown;
  for (const auto& name : names_in(read_file("deploy/grafana-dashboard.json")))
    shown.insert(family_of(name, families));
  for (const auto& family : families)
    EXPECT_TRUE(shown.contains(family) || !family.starts_with("bailian_")) << family;
}

TEST_F(Watch, PromtoolHasNothingToSayOfTheMetrics) {
  const std::string promtool = std::filesystem::absolute("build/promtool");
  if (access(promtool.c_str(), X_OK) != 0) GTEST_SKIP() << "no build/promtool: `make test-watch` gets it";
  const auto file = site_.dir().write("metrics", metrics_);
  Process check({.argv = {"/bin/sh", "-c", R"(exec "$0" check metrics <"$1")", promtool, file},
                 .env = {},
                 .directory = site_.dir().path(),
                 .fds = {}});
  EXPECT_EQ(check.wait(), 0);
  EXPECT_EQ(check.out().text() + check.err().text(), "");
}

TEST(Dashboard, HasAQueryAndAnOwnPlaceForEveryPanel) {
  const auto dashboard = parse_json(read_file("deploy/grafana-dashboard.json"));
  EXPECT_EQ(text_at(dashboard, "/uid"), "bailian-fcgi");
  std::set<int64_t> ids;
  std::set<std::pair<int64_t, int64_t>> places;
  for (const auto& panel : at(dashboard, "/panels").GetArray()) {
    const auto title = text_at(panel, "/title");
    EXPECT_TRUE(ids.insert(number_at(panel, "/id")).second) << title;
    EXPECT_TRUE(places.emplace(number_at(panel, "/gridPos/x"), number_at(panel, "/gridPos/y")).second)
        << title;
    EXPECT_LE(number_at(panel, "/gridPos/x") + number_at(panel, "/gridPos/w"), 24) << title;
    if (text_at(panel, "/type") == "row") continue;
    EXPECT_GE(at(panel, "/targets").Size(), 1U) << title;
    for (const auto& target : at(panel, "/targets").GetArray())
      EXPECT_FALSE(names_in(text_at(target, "/expr")).empty()) << title;
  }
}

}  // namespace
}  // namespace bailian::e2e
