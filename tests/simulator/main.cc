#include <sys/resource.h>

#include <csignal>
#include <exception>
#include <iostream>

#include "help.h"
#include "options.h"
#include "server.h"

#ifndef BAILIAN_VERSION
#define BAILIAN_VERSION "unknown"
#endif

namespace bailian::simulator {
namespace {

// sysexits.h
constexpr int kUsage = 64;
constexpr int kUnavailable = 69;
constexpr int kSoftware = 70;

void allow_many_connections() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int serve(const Options& options) {
  std::signal(SIGPIPE, SIG_IGN);
  allow_many_connections();
  Server server(options);
  std::cout << "listening on " << server.url() << std::endl;
  server.run();
  return 0;
}

int run(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  switch (options.action) {
    case Options::Action::kHelp:
      std::cout << help_text();
      return 0;
    case Options::Action::kVersion:
      std::cout << "simulator " BAILIAN_VERSION "\n";
      return 0;
    case Options::Action::kServe:
      break;
  }
  return serve(options);
}

int fail(const std::exception& error, int status) {
  std::cerr << "simulator: " << error.what() << '\n';
  return status;
}

}  // namespace
}  // namespace bailian::simulator

int main(int argc, char** argv) {
  using namespace bailian::simulator;
  try {
    return run(argc, argv);
  } catch (const UsageError& error) {
    fail(error, kUsage);
    std::cerr << "simulator --help lists the options\n";
    return kUsage;
  } catch (const ListenError& error) {
    return fail(error, kUnavailable);
  } catch (const std::exception& error) {
    return fail(error, kSoftware);
  }
}
