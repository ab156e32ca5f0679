#include "dashscope/session_id.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <new>

namespace bailian {
namespace {

constexpr char kMark = '~';
constexpr size_t kCodeBytes = 12;
constexpr size_t kMarkedBytes = 1 + 2 * kCodeBytes;  // the mark and the code
constexpr size_t kMaxIdBytes = 128;                  // as in the answer parser

std::string code_of(std::string_view session_id, const Target& target) {
  // The session id comes last, as it may have any bytes.
  const std::string text = fmt::format("{}\n{}\n{}", target.base_url, target.app_id, session_id);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  const auto* const bytes = reinterpret_cast<const unsigned char*>(text.data());
  if (HMAC(EVP_sha256(), target.api_key.data(), static_cast<int>(target.api_key.size()), bytes, text.size(),
           digest.data(), &size) == nullptr)
    throw std::bad_alloc();
  std::string code;
  for (size_t i = 0; i < kCodeBytes; ++i) code += fmt::format("{:02x}", digest.at(i));
  return code;
}

bool is_code(std::string_view text) { return text.find_first_not_of("0123456789abcdef") == text.npos; }

}  // namespace

std::string mark_session(std::string_view session_id, const Target& target) {
  return std::string(session_id) + kMark + code_of(session_id, target);
}

SentSession read_session(std::string_view sent, std::span<const Target* const> targets) {
  const bool is_marked = sent.size() > kMarkedBytes && sent[sent.size() - kMarkedBytes] == kMark &&
                         is_code(sent.substr(sent.size() - 2 * kCodeBytes));
  if (!is_marked) return {sent, 0};
  const std::string_view id = sent.substr(0, sent.size() - kMarkedBytes);
  const std::string_view code = sent.substr(sent.size() - 2 * kCodeBytes);
  if (id.size() > kMaxIdBytes) return {id, std::nullopt};
  for (size_t i = 0; i < targets.size(); ++i) {
    if (CRYPTO_memcmp(code_of(id, *targets[i]).data(), code.data(), code.size()) == 0) return {id, i};
  }
  return {id, std::nullopt};
}

}  // namespace bailian
