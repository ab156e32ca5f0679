#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace bailian {

/// Masks a secret in a text that arrives in pieces, even if it spans several: it is replaced by at most its
/// first three bytes and `***`. Only bytes that may still become the secret are held back. A pure value.
class KeyMask {
 public:
  /// `key` must outlive the mask. A key of fewer than eight bytes is too common to be masked.
  explicit KeyMask(std::string_view key);

  /// The text that may be shown now. The view dies with the next call or with `piece`.
  std::string_view feed(std::string_view piece);
  /// Ends the text and returns the bytes that were held back. The view dies with the next call.
  std::string_view finish();

 private:
  [[nodiscard]] size_t begun_in(std::string_view text) const;

  std::string_view key_;
  std::string begun_;  // the end of the text so far, which is a prefix of the key
  size_t shown_ = 0;   // bytes of it that were returned already
  std::string out_;
};

/// Whether a value contains the key; a short key is never found.
bool shows_key(std::string_view text, std::string_view key);

/// `text` with the key replaced by `***`. A prefix of the key at the end of `text` is left out: the rest may
/// have been cut off.
std::string without_key(std::string_view text, std::string_view key);

/// `text` without the key, without anything else that looks like one, and not longer than one line of 500
/// bytes.
std::string scrub(std::string_view text, std::string_view api_key);

}  // namespace bailian
