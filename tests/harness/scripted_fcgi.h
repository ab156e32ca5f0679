#pragma once

#include <map>
#include <string>
#include <string_view>

#include "harness/socket.h"

namespace bailian::e2e {

// One request to a scripted FastCGI application, read to its end.
class FcgiCall {
 public:
  explicit FcgiCall(Fd socket);

  const std::string& param(const std::string& name) const { return params_.at(name); }
  const std::string& body() const { return body_; }

  void answer(std::string_view body);
  // Ends without an answer, as an application that crashes does.
  void close() { socket_.close(); }

 private:
  Fd socket_;
  std::map<std::string, std::string> params_;
  std::string body_;
};

// Stands in for PHP-FPM and for responders that misbehave. It accepts only in accept().
class ScriptedFcgi {
 public:
  explicit ScriptedFcgi(Fd listener) : listener_(std::move(listener)) {}

  FcgiCall accept() const { return FcgiCall(accept_from(listener_)); }

 private:
  Fd listener_;
};

}  // namespace bailian::e2e
