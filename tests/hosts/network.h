#pragma once

#include <string>
#include <vector>

#include "harness/process.h"

namespace bailian::e2e {

// A network namespace without a name: a process holds it, and it goes with that, whatever becomes of the
// tests.
class Namespace {
 public:
  Namespace();

  // What comes before a command that is to run inside.
  std::vector<std::string> prefix() const;
  std::string holder() const { return std::to_string(process_.pid()); }
  // `ip` inside; throws when it fails.
  void ip(const std::string& arguments) const;

 private:
  Process process_;
};

// True where namespaces may be made.
bool can_make_namespaces();

// A switch with a front host and others, each with a cable to it.
class Network {
 public:
  explicit Network(size_t hosts);

  const Namespace& front() const { return front_; }
  const Namespace& host(size_t number) const { return hosts_[number]; }
  static std::string address_of(size_t number) { return "10.77.0." + std::to_string(number + 1); }

  // What is on its way is lost, and nobody is told.
  void cut(size_t number) const { set_port(number, "down"); }
  void mend(size_t number) const { set_port(number, "up"); }

 private:
  void set_port(size_t number, const char* state) const;

  Namespace front_;
  std::vector<Namespace> hosts_;
};

}  // namespace bailian::e2e
