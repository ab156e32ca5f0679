#pragma once

#include <string>
#include <vector>

#include "harness/process.h"

namespace bailian::e2e {

// A network namespace without a name. It exists as long as the process that holds it, which ends with the
// tests.
class Namespace {
 public:
  Namespace();

  // The prefix of a command that runs inside.
  std::vector<std::string> prefix() const;
  std::string holder() const { return std::to_string(process_.pid()); }
  // Runs `ip` inside; throws when it fails.
  void ip(const std::string& arguments) const;

 private:
  Process process_;
};

// True if this process may create namespaces.
bool can_make_namespaces();

// A switch that connects a front host and others.
class Network {
 public:
  explicit Network(size_t hosts);

  const Namespace& front() const { return front_; }
  const Namespace& host(size_t number) const { return hosts_[number]; }
  static std::string address_of(size_t number) { return "10.77.0." + std::to_string(number + 1); }

  // Packets are lost silently.
  void cut(size_t number) const { set_port(number, "down"); }
  void mend(size_t number) const { set_port(number, "up"); }

 private:
  void set_port(size_t number, const char* state) const;

  Namespace front_;
  std::vector<Namespace> hosts_;
};

}  // namespace bailian::e2e
