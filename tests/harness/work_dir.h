#pragma once

#include <string>
#include <string_view>

namespace bailian::e2e {

// The programs under test are built next to this one.
std::string sibling_program(std::string_view name);

// The example bodies of the upstream's contract.
std::string example_directory();

// A directory of its own for one site: under the build directory for what people may want to read after a
// failure, and a short one in /tmp for sockets, whose paths are limited. Removed at the end unless told to
// keep.
class WorkDir {
 public:
  WorkDir();
  ~WorkDir();
  WorkDir(const WorkDir&) = delete;
  WorkDir& operator=(const WorkDir&) = delete;

  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  std::string socket(std::string_view name) const { return sockets_ + "/" + std::string(name); }
  // Writes a file and gives its path.
  std::string write(std::string_view name, std::string_view content) const;
  void keep() { kept_ = true; }

 private:
  std::string path_;
  std::string sockets_;
  bool kept_ = false;
};

std::string read_file(const std::string& path);

}  // namespace bailian::e2e
