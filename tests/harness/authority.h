#pragma once

#include <string>
#include <vector>

#include "harness/work_dir.h"

namespace bailian::e2e {

// A certificate authority and the certificates it issues, made by the openssl command.
class Authority {
 public:
  explicit Authority(const WorkDir& dir);

  std::string key() const { return dir_.file("key.pem"); }
  std::string bundle() const { return dir_.file("ca.pem"); }

  // A certificate for subjectAltName `host`, valid for this many days from now.
  std::string issue(const std::string& host, int days, const std::string& more_extensions = {}) const;
  std::string self_signed(const std::string& host) const;

 private:
  std::string make_self_signed(const char* name, const char* subject, std::vector<std::string> more) const;
  void openssl(std::vector<std::string> arguments) const;

  const WorkDir& dir_;
};

}  // namespace bailian::e2e
