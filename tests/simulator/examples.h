#pragma once

#include <string>

namespace bailian::simulator {

struct Example {
  int status = 200;
  std::string content_type;
  std::string body;
};

// The captures of contract.md §5 in a directory with INDEX.tsv: file, status, content type, bytes, note.
class Examples {
 public:
  explicit Examples(std::string directory) : directory_(std::move(directory)) {}

  // `name` without `.txt`. Throws ApiError InvalidParameter if there is no such answer.
  Example load(const std::string& name) const;

 private:
  std::string directory_;
};

}  // namespace bailian::simulator
