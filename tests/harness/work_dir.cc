#include "harness/work_dir.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "harness/sanitized.h"

namespace bailian::e2e {
namespace {

namespace fs = std::filesystem;

fs::path build_directory() {
  static const fs::path directory = fs::read_symlink("/proc/self/exe").parent_path();
  return directory;
}

std::string make_unique_directory(std::string pattern) {
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make " + pattern);
  return pattern;
}

std::string make_work_directory() {
  fs::create_directories(build_directory() / "e2e");
  return make_unique_directory((build_directory() / "e2e" / "XXXXXX").string());
}

}  // namespace

std::string sibling_program(std::string_view name) { return (build_directory() / name).string(); }

bool is_sanitized() {
  static const bool is_sanitized = [] {
    if (kSanitized) return true;
    const std::string responder = sibling_program("bailian-fcgi");
    if (!fs::exists(responder)) return false;
    const std::string code = read_file(responder);
    return code.find("__asan_init") != std::string::npos || code.find("__tsan_init") != std::string::npos;
  }();
  return is_sanitized;
}

std::string example_directory() { return fs::absolute("tests/data").string(); }

WorkDir::WorkDir() : path_(make_work_directory()), sockets_(make_unique_directory("/tmp/bailian-XXXXXX")) {}

WorkDir::~WorkDir() {
  std::error_code ignored;
  fs::remove_all(sockets_, ignored);
  if (!kept_) fs::remove_all(path_, ignored);
}

std::string WorkDir::write(std::string_view name, std::string_view content) const {
  auto path = file(name);
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace bailian::e2e
