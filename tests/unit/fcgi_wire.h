#pragma once

#include <fastcgi.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// The web server's side of FastCGI, byte by byte.
namespace bailian::wire {

inline std::string record(int type, uint16_t id, std::string_view content, size_t padding = 0) {
  std::string bytes;
  for (const size_t byte : {size_t{1}, static_cast<size_t>(type), size_t{id} >> 8, size_t{id} & 255,
                            content.size() >> 8, content.size() & 255, padding, size_t{0}}) {
    bytes += static_cast<char>(byte);
  }
  return bytes.append(content).append(padding, '\xaa');
}

inline std::string begin(uint16_t id, char flags, char role = FCGI_RESPONDER) {
  return record(FCGI_BEGIN_REQUEST, id, std::string{'\0', role, flags, 0, 0, 0, 0, 0});
}

inline std::string end_request(uint16_t id, char protocol_status) {
  return record(FCGI_END_REQUEST, id, std::string{0, 0, 0, 0, protocol_status, 0, 0, 0});
}

inline std::string length(size_t size) {
  if (size < 128) return {static_cast<char>(size)};
  return {static_cast<char>(size >> 24 | 0x80), static_cast<char>(size >> 16), static_cast<char>(size >> 8),
          static_cast<char>(size)};
}

inline std::string pair(std::string_view name, std::string_view value) {
  return length(name.size()).append(length(value.size())).append(name).append(value);
}

using Pairs = std::vector<std::pair<std::string, std::string>>;

inline std::string params(uint16_t id, const Pairs& pairs) {
  std::string content;
  for (const auto& [name, value] : pairs) content += pair(name, value);
  return (content.empty() ? "" : record(FCGI_PARAMS, id, content)) + record(FCGI_PARAMS, id, "");
}

inline std::string stdin_stream(uint16_t id, std::string_view body) {
  std::string bytes;
  while (!body.empty()) {
    const std::string_view part = body.substr(0, 65535);
    bytes += record(FCGI_STDIN, id, part);
    body.remove_prefix(part.size());
  }
  return bytes + record(FCGI_STDIN, id, "");
}

}  // namespace bailian::wire
