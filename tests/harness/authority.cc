#include "harness/authority.h"

#include <stdexcept>

#include "harness/process.h"

namespace bailian::e2e {

Authority::Authority(const WorkDir& dir) : dir_(dir) {
  openssl({"ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key()});
  make_self_signed("ca.pem", "/CN=Test authority", {});
}

std::string Authority::issue(const std::string& host, int days, const std::string& more_extensions) const {
  const auto request = dir_.file("request.pem");
  const auto extensions = dir_.write("extensions", "subjectAltName=" + host + "\n" + more_extensions);
  auto certificate = dir_.file("server.pem");
  openssl({"req", "-new", "-key", key(), "-subj", "/CN=server", "-out", request});
  // Only `openssl ca` can make a certificate that has already expired in every release of OpenSSL.
  dir_.write("index", "");
  const auto config =
      dir_.write("ca.conf",
                 "[ca]\ndefault_ca = here\n[any]\ncommonName = supplied\n"
                 "[here]\npolicy = any\ndefault_md = sha256\nrand_serial = yes\nnew_certs_dir = " +
                     dir_.path() + "\ndatabase = " + dir_.file("index") + "\n");
  std::vector<std::string> arguments{"ca",    "-batch",   "-notext",  "-config", config,
                                     "-cert", bundle(),   "-keyfile", key(),     "-in",
                                     request, "-extfile", extensions, "-out",    certificate};
  if (days < 0) {
    arguments.insert(arguments.end(), {"-startdate", "20200101000000Z", "-enddate", "20200102000000Z"});
  } else {
    arguments.insert(arguments.end(), {"-days", std::to_string(days)});
  }
  openssl(arguments);
  return certificate;
}

std::string Authority::self_signed(const std::string& host) const {
  return make_self_signed("self.pem", "/CN=nobody", {"-addext", "subjectAltName=" + host});
}

std::string Authority::make_self_signed(const char* name, const char* subject,
                                        std::vector<std::string> more) const {
  std::vector<std::string> arguments{"req",   "-x509", "-new", "-key", key(),          "-subj",
                                     subject, "-days", "2",    "-out", dir_.file(name)};
  arguments.insert(arguments.end(), more.begin(), more.end());
  openssl(arguments);
  return dir_.file(name);
}

void Authority::openssl(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), "openssl");
  const auto finished = run({.argv = arguments, .env = {}, .directory = dir_.path(), .fds = {}});
  if (finished.exit_code != 0) throw std::runtime_error("openssl fails: " + finished.err);
}

}  // namespace bailian::e2e
