#include "harness/redis_server.h"

#include <utility>

namespace bailian::e2e {

RedisServer::RedisServer(const WorkDir& dir, std::vector<std::string> options)
    : dir_(dir), socket_(dir.socket("redis")), options_(std::move(options)) {
  start();
}

void RedisServer::start() {
  Command command;
  command.argv = {"redis-server", "--port", "0", "--unixsocket", socket_, "--save", "", "--dir", dir_.path()};
  command.argv.insert(command.argv.end(), options_.begin(), options_.end());
  process_.emplace(command);
  process_->await_ready(process_->out(), "eady to accept connections");
}

void RedisServer::kill() {
  process_->signal(SIGKILL);
  process_->wait();
  process_.reset();
}

std::string RedisServer::ask(const std::vector<std::string>& command) const {
  Command cli;
  cli.argv = {"redis-cli", "-s", socket_};
  cli.argv.insert(cli.argv.end(), command.begin(), command.end());
  std::string out = run(cli).out;
  while (out.ends_with('\n')) out.pop_back();
  return out;
}

}  // namespace bailian::e2e
