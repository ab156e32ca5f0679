#include "network.h"

#include <sstream>
#include <stdexcept>

namespace bailian::e2e {
namespace {

std::string port(size_t number) { return "port" + std::to_string(number); }

}  // namespace

Namespace::Namespace()
    : process_({.argv = {"unshare", "--net", "sh", "-c", "echo made && exec sleep infinity"},
                .env = {},
                .directory = {},
                .fds = {}}) {
  process_.await_ready(process_.out(), "made");
  ip("link set lo up");
}

std::vector<std::string> Namespace::prefix() const {
  return {"nsenter", "--net=/proc/" + holder() + "/ns/net"};
}

void Namespace::ip(const std::string& arguments) const {
  auto argv = prefix();
  argv.emplace_back("ip");
  std::istringstream words(arguments);
  for (std::string word; words >> word;) argv.push_back(word);
  const auto finished = run({.argv = argv, .env = {}, .directory = {}, .fds = {}});
  if (finished.exit_code != 0) throw std::runtime_error("ip " + arguments + ": " + finished.err);
}

bool can_make_namespaces() {
  return run({.argv = {"unshare", "--net", "true"}, .env = {}, .directory = {}, .fds = {}}).exit_code == 0;
}

Network::Network(size_t hosts) : hosts_(hosts) {
  front_.ip("link add switch type bridge");
  front_.ip("address add 10.77.0.254/24 dev switch");
  front_.ip("link set switch up");
  for (size_t i = 0; i < hosts; ++i) {
    front_.ip("link add " + port(i) + " type veth peer name eth0 netns " + hosts_[i].holder());
    front_.ip("link set " + port(i) + " master switch up");
    hosts_[i].ip("address add " + address_of(i) + "/24 dev eth0");
    hosts_[i].ip("link set eth0 up");
  }
}

void Network::set_port(size_t number, const char* state) const {
  front_.ip("link set " + port(number) + " " + state);
}

}  // namespace bailian::e2e
