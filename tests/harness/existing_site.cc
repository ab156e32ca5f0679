#include "harness/existing_site.h"

#include <stdexcept>

namespace bailian::e2e {
namespace {

constexpr const char* kShippedSocket = "/run/bailian-fcgi/bailian-fcgi.sock";

void apply(const Edit& edit, std::string& text) {
  const size_t at = text.find(edit.from);
  if (at == std::string::npos) throw std::runtime_error("nothing shipped has " + edit.from);
  text.replace(at, edit.from.size(), edit.to);
}

std::string edited(const std::string& file, const std::vector<Edit>& edits) {
  auto text = read_file(file);
  for (const auto& edit : edits) apply(edit, text);
  return text;
}

void install(const WorkDir& dir, const char* name, std::vector<Edit> edits) {
  edits.insert(edits.begin(), {kShippedSocket, dir.socket("fcgi")});
  dir.write(name, edited(std::string("nginx/") + name, edits));
}

// A location inherits each of these unless it sets its own.
constexpr const char* kSettingsForPhp = R"(
    add_header Access-Control-Allow-Origin https://site.example always;
    client_max_body_size 100k;
    error_page 404 500 502 503 504 /index.php;
    expires 30d;
    gzip on;
    gzip_min_length 0;
    gzip_types *;
    fastcgi_buffer_size 32k;
    fastcgi_buffers 16 32k;
    fastcgi_busy_buffers_size 64k;
    fastcgi_buffering on;
    fastcgi_cache site;
    fastcgi_cache_key $request_method$request_uri;
    fastcgi_cache_valid any 1h;
    fastcgi_ignore_client_abort on;
    fastcgi_ignore_headers X-Accel-Buffering Cache-Control;
    fastcgi_intercept_errors on;
    fastcgi_next_upstream error timeout http_503 non_idempotent;
    fastcgi_read_timeout 1s;
    limit_req_dry_run on;
    limit_conn_dry_run on;
)";

}  // namespace

std::string existing_site(const WorkDir& dir, const IncludeOptions& options) {
  dir.write("fastcgi_params", read_file("/etc/nginx/fastcgi_params"));
  install(dir, "bailian-fcgi.conf", options.edits);
  if (options.limits) install(dir, "bailian-fcgi-http.conf", *options.limits);
  if (options.status) install(dir, "bailian-fcgi-status.conf", options.status_edits);
  dir.write("index.php", "served by PHP, never as a file");
  return (options.limits ? "  include bailian-fcgi-http.conf;\n" : std::string()) + "  fastcgi_cache_path " +
         dir.file("cache") + " keys_zone=site:1m;\n" + "  server {\n    listen unix:" + dir.socket("web") +
         ";\n" + options.listen + "    include bailian-fcgi.conf;\n" +
         (options.status ? "    include bailian-fcgi-status.conf;\n" : "") + "    root " + dir.path() +
         ";\n    index index.php;\n" + kSettingsForPhp +
         "    location / { try_files $uri $uri/ /index.php?$args; }\n"
         "    location ~ \\.php$ {\n      include fastcgi_params;\n      fastcgi_cache off;\n"
         "      fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;\n"
         "      fastcgi_pass unix:" +
         dir.socket("php") + ";\n    }\n  }\n";
}

void ExistingSite::TearDown() {
  if (!nginx_) return;
  nginx_->stop();
  const auto log = nginx_->process().err().text();
  EXPECT_EQ(log.find("uninitialized"), log.npos) << log;
}

void ExistingSite::start_responder(Settings settings) {
  settings.merge(site_settings(dir_, simulator_));
  responder_.emplace(responder_command(dir_, settings));
}

void ExistingSite::start_nginx(const IncludeOptions& options) {
  nginx_.emplace(dir_, "nginx", existing_site(dir_, options));
}

Exchange ExistingSite::stream(std::string_view prompt) const {
  return browser().send({.method = "POST", .path = kStreamPath, .body = chat_body(prompt)});
}

testing::AssertionResult ExistingSite::reaches_php(const std::string& path) const {
  auto exchange = browser().send({.path = path});
  auto call = php_.accept();
  call.answer("PHP");
  const auto answer = exchange.read_all();
  if (call.param("REQUEST_URI") == path && answer.status == 200 && answer.body == "PHP")
    return testing::AssertionSuccess();
  return testing::AssertionFailure() << "PHP was asked for " << call.param("REQUEST_URI")
                                     << ", the answer is " << answer.status << " " << answer.body;
}

}  // namespace bailian::e2e
