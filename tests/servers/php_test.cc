// deploy/README.md, "PHP on the same machine", with Debian's own nginx and PHP-FPM: which users can reach the
// socket.

#include <glob.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <optional>
#include <string>
#include <vector>

#include "harness/answer.h"
#include "harness/responder.h"
#include "harness/simulator.h"
#include "harness/site.h"
#include "web_server.h"

namespace bailian::e2e {
namespace {

std::string section_of(const std::string& document, const std::string& heading) {
  const size_t begin = document.find("\n## " + heading + "\n");
  return begin == document.npos ? "" : document.substr(begin, document.find("\n## ", begin + 1) - begin);
}

// The lines of code in a document that start with this.
std::string lines_with(const std::string& document, std::string_view begin) {
  std::string lines;
  for (size_t at = document.find(begin); at != document.npos; at = document.find(begin, at + 1))
    if (at > 0 && document[at - 1] == '\n') lines += document.substr(at, document.find('\n', at) + 1 - at);
  return lines;
}

std::string php_fpm() {
  glob_t found{};
  std::string program;
  if (glob("/usr/sbin/php-fpm*.*", 0, nullptr, &found) == 0) program = found.gl_pathv[found.gl_pathc - 1];
  globfree(&found);
  return program;
}

// A machine with a PHP site behind nginx, both as Debian sets them up, in its own mount namespace, so that
// /etc can be changed.
class PhpOnTheSameMachine : public testing::Test {
 protected:
  void SetUp() override {
    if (php_fpm().empty()) GTEST_SKIP() << "no PHP-FPM";
    if (geteuid() != 0) GTEST_SKIP() << "mount namespaces need root";
    ASSERT_EQ(chmod(dir_.path().c_str(), 0755), 0);
    ASSERT_EQ(chmod(dir_.socket("").c_str(), 0755), 0);
    dir_.write("spend.php", "<?php echo @stream_socket_client('unix://" + dir_.socket("fcgi") +
                                "') ? 'spends' : 'is refused';");
    dir_.write("site.conf", "server { listen unix:" + dir_.socket("web") + "; root " + dir_.path() + R"(;
  location ~ \.php$ {
    include fastcgi_params;
    fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
    fastcgi_pass unix:/run/php/test.sock;
  }
  location = /health { include fastcgi_params; fastcgi_pass unix:)" +
                                dir_.socket("fcgi") + "; }\n}\n");
    machine_.emplace(Command{.argv = {"unshare", "--mount", "sh", "-ec", R"(
for directory in /mnt /run /var/lib/nginx /var/log/nginx; do mount -t tmpfs tmpfs $directory; done
mkdir -p /mnt/changed /mnt/work /run/php /run/lock
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/changed,workdir=/mnt/work /etc
rm -f /etc/nginx/sites-enabled/* /etc/nginx/conf.d/* /etc/nginx/modules-enabled/*
cp site.conf /etc/nginx/conf.d/
sed -i 's|^error_log = .*|error_log = /proc/self/fd/2|' /etc/php/*/fpm/php-fpm.conf
sed -i 's|^listen = .*|listen = /run/php/test.sock|' /etc/php/*/fpm/pool.d/www.conf
echo made
exec sleep infinity)"},
                             .env = {},
                             .directory = dir_.path(),
                             .fds = {}});
    if (!machine_->out().await_line([](auto line) { return line == "made"; }))
      GTEST_SKIP() << "no overlay mounts here: " << machine_->err().text();
    responder_.emplace(responder_command(dir_, site_settings(dir_, simulator_)));
    give_socket_to("www-data");
    start();
  }

  Command on_machine(std::vector<std::string> argv) const {
    argv.insert(argv.begin(), {"nsenter", "--mount=/proc/" + std::to_string(machine_->pid()) + "/ns/mnt"});
    return {.argv = argv, .env = {}, .directory = {}, .fds = {}, .signal_when_we_die = SIGTERM};
  }
  void run_on_machine(const std::string& script) const {
    const auto finished = run(on_machine({"sh", "-ec", script}));
    EXPECT_EQ(finished.exit_code, 0) << script << finished.err;
  }
  void give_socket_to(const std::string& group) const {
    run_on_machine("chown nobody:" + group + " " + dir_.socket("fcgi"));
  }
  void start() {
    php_.emplace(on_machine({php_fpm(), "--nodaemonize"}));
    php_->await_ready(php_->err(), "ready to handle");
    nginx_.emplace(on_machine({"nginx", "-g", "daemon off; error_log stderr notice;"}));
    nginx_->await_ready(nginx_->err(), "start worker process ");
  }
  void restart() {
    stop();
    start();
  }
  void stop() {
    for (auto* process : {&nginx_, &php_}) {
      if (!*process) continue;
      (*process)->signal(SIGTERM);
      EXPECT_EQ((*process)->wait(), 0);
      process->reset();
    }
  }
  void TearDown() override { stop(); }

  std::string what_php_does() const { return browser().get("/spend.php").body; }
  bool check_warns() const {
    auto command = responder_command(dir_, site_settings(dir_, simulator_), {"--check"});
    auto there = on_machine(command.argv);
    there.env = command.env;
    return run(there).err.find("runs PHP as") != std::string::npos;
  }
  Browser browser() const { return Browser({.unix_path = dir_.socket("web")}); }

  WorkDir dir_;
  Simulator simulator_{dir_};
  std::optional<Process> machine_;
  std::optional<Responder> responder_;
  std::optional<Process> php_;
  std::optional<Process> nginx_;
};

TEST_F(PhpOnTheSameMachine, IsShutOutByAUserOfNginxsOwn) {
  EXPECT_EQ(what_php_does(), "spends");
  EXPECT_TRUE(check_warns());

  const auto section = section_of(read_file("deploy/README.md"), "PHP on the same machine");
  const auto commands = lines_with(section, "sudo useradd ") + lines_with(section, "sudo sed ");
  run_on_machine("sudo() { \"$@\"; }\n" + commands);
  const auto drop_in = lines_with(read_file("deploy/examples/socket-group.conf"), "SocketGroup=");
  give_socket_to(drop_in.substr(drop_in.find('=') + 1, drop_in.find('\n') - drop_in.find('=') - 1));
  restart();
  EXPECT_EQ(what_php_does(), "is refused");
  EXPECT_FALSE(check_warns());
  EXPECT_EQ(browser().get(kHealthPath).status, 200) << "nginx still reaches it";
}

TEST_F(PhpOnTheSameMachine, IsShutOutByAUserOfItsOwn) {
  run_on_machine(R"(useradd --system --user-group --no-create-home site
sed -i 's/^user = .*/user = site/; s/^group = .*/group = site/' /etc/php/*/fpm/pool.d/www.conf)");
  restart();
  EXPECT_EQ(what_php_does(), "is refused");
  EXPECT_FALSE(check_warns());
  EXPECT_EQ(browser().get(kHealthPath).status, 200);
}

}  // namespace
}  // namespace bailian::e2e
