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

// A change to a file we ship, as its comments ask for; `from` must be in it.
struct Edit {
  std::string from;
  std::string to;
};

struct IncludeOptions {
  std::vector<Edit> edits = {};                  // of bailian-fcgi.conf
  std::optional<std::vector<Edit>> limits = {};  // of bailian-fcgi-http.conf, which is absent without
  std::string listen = {};                       // more of `server { }`
  bool status = false;                           // bailian-fcgi-status.conf is included too
  std::vector<Edit> status_edits = {};           // of it
};

// A site as guides for WordPress on nginx advise: permalinks by try_files, PHP by its extension, and settings
// for its PHP that would spoil a stream. Into it our include is put.
class ExistingSite : public testing::Test {
 protected:
  void TearDown() override;

  void start_responder(Settings settings = {});
  void start_nginx(const IncludeOptions& options = {});

  Browser browser() const { return Browser({.unix_path = dir_.socket("web")}); }
  Exchange stream(std::string_view prompt) const;
  // True when the site's own PHP is asked, and its answer comes back.
  testing::AssertionResult reaches_php(const std::string& path) const;

  WorkDir dir_;
  Simulator simulator_{dir_};
  ScriptedFcgi php_{listen_on_unix(dir_.socket("php"))};
  std::optional<Responder> responder_;
  std::optional<Nginx> nginx_;
};

// The files we ship, edited and with the socket of a test, and the `http { }` around them.
std::string existing_site(const WorkDir& dir, const IncludeOptions& options);

}  // namespace bailian::e2e
