#include "examples.h"

#include <fstream>
#include <iterator>
#include <sstream>

#include "api_error.h"

namespace bailian::simulator {
namespace {

[[noreturn]] void reject(const std::string& name, const std::string& reason) {
  throw ApiError(400, "InvalidParameter", "simulator directive: example=" + name + ": " + reason);
}

// "400 (older doc: 413)" and "application/json (or absent)" contain a remark.
std::string without_remark(const std::string& field) { return field.substr(0, field.find(" (")); }

bool find_in_index(std::ifstream& index, const std::string& file, Example& example) {
  std::string line;
  while (std::getline(index, line)) {
    std::istringstream fields(line);
    std::string name;
    std::string status;
    std::string content_type;
    std::getline(fields, name, '\t');
    std::getline(fields, status, '\t');
    std::getline(fields, content_type, '\t');
    if (name != file || status.empty() || status[0] < '1' || status[0] > '9') continue;
    example.status = std::stoi(without_remark(status));
    example.content_type = without_remark(content_type);
    return true;
  }
  return false;
}

}  // namespace

Example Examples::load(const std::string& name) const {
  if (directory_.empty()) reject(name, "the simulator was started without --examples");
  std::ifstream index(directory_ + "/INDEX.tsv");
  if (!index) reject(name, "no INDEX.tsv in " + directory_);
  Example example;
  if (!find_in_index(index, name + ".txt", example)) reject(name, "no such answer in INDEX.tsv");
  std::ifstream body(directory_ + "/" + name + ".txt", std::ios::binary);
  if (!body) reject(name, "the file is missing");
  example.body.assign(std::istreambuf_iterator<char>(body), {});
  return example;
}

}  // namespace bailian::simulator
