#pragma once

#include <string>
#include <string_view>

namespace bailian::e2e {

// A program under test, which is built next to this one.
std::string sibling_program(std::string_view name);

// True when the programs under test are built with a sanitizer.
bool is_sanitized();

// tests/data: example bodies of DashScope.
std::string example_directory();

// A directory for one site: one below the build directory for files that you may want to read after a
// failure, and one in /tmp for sockets, whose paths must be short. The destructor removes both unless keep()
// was called.
class WorkDir {
 public:
  WorkDir();
  ~WorkDir();
  WorkDir(const WorkDir&) = delete;
  WorkDir& operator=(const WorkDir&) = delete;

  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  std::string socket(std::string_view name) const { return sockets_ + "/" + std::string(name); }
  // Writes a file and returns its path.
  std::string write(std::string_view name, std::string_view content) const;
  void keep() { kept_ = true; }

 private:
  std::string path_;
  std::string sockets_;
  bool kept_ = false;
};

std::string read_file(const std::string& path);

}  // namespace bailian::e2e
