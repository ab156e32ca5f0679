#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace bailian {

/// A response body of the wire contract, by its name in tests/data without `.txt`.
inline std::string example(const std::string& name) {
  std::ifstream file("tests/data/" + name + ".txt", std::ios::binary);
  if (!file) throw std::runtime_error("run the tests from the top folder: no tests/data/" + name + ".txt");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline std::vector<std::string> example_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("tests/data")) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() == ".txt" && !name.ends_with(".request")) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace bailian
