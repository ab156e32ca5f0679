// The load generator of `make bench`: many chats, or many short requests, from one thread.
#include <sys/resource.h>

#include <iostream>

#include "load_options.h"
#include "runs.h"

namespace {

void raise_descriptor_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace bailian::bench;
  const Options options = parse_options(argc, argv);
  raise_descriptor_limit();
  try {
    Report report;
    bool is_good = false;
    switch (options.mode) {
      case Mode::kStreams:
        is_good = run_streams(options, report);
        break;
      case Mode::kRequests:
        is_good = run_requests(options, report);
        break;
      case Mode::kCancel:
        is_good = run_cancel(options, report);
        break;
      case Mode::kVisits:
        is_good = run_visits(options, report);
        break;
    }
    std::cout << report.finish() << "\n";
    return is_good ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << "bench_load: " << error.what() << "\n";
    return 1;
  }
}
