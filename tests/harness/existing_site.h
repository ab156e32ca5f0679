#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/nginx.h"
#include "harness/responder.h"
#include "harness/scripted_fcgi.h"
#include "harness/simulator.h"
#include "harness/site.h"
#include "harness/work_dir.h"

namespace bailian::e2e {

// An edit of a file that we ship, as its comments describe it. `from` must be in the file.
struct Edit {
  std::string from;
  std::string to;
};

struct IncludeOptions {
  std::vector<Edit> edits = {};  // of bailian-fcgi.conf
  std::optional<std::vector<Edit>> limits =
      {};                               // of bailian-fcgi-http.conf; without it, that file is not included
  std::string listen = {};              // more lines of `server { }`
  bool status = false;                  // includes bailian-fcgi-status.conf too
  std::vector<Edit> status_edits = {};  // of it
};

// A site as guides to WordPress on nginx describe it: permalinks by try_files, PHP by file extension, and PHP
// settings that would break a stream. It includes our file.
class ExistingSite : public testing::Test {
 protected:
  void TearDown() override;

  void start_responder(Settings settings = {});
  void start_nginx(const IncludeOptions& options = {});

  Browser browser() const { return Browser({.unix_path = dir_.socket("web")}); }
  Exchange stream(std::string_view prompt) const;
  // True when the request reaches the site's own PHP and its answer is returned.
  testing::AssertionResult reaches_php(const std::string& path) const;

  WorkDir dir_;
  Simulator simulator_{dir_};
  ScriptedFcgi php_{listen_on_unix(dir_.socket("php"))};
  std::optional<Responder> responder_;
  std::optional<Nginx> nginx_;
};

// The `http { }` of such a site, around the files that we ship, edited and with the socket of the test.
std::string existing_site(const WorkDir& dir, const IncludeOptions& options);

}  // namespace bailian::e2e
