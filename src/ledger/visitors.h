#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "ledger/table_layout.h"

namespace bailian {

/// Whom an address belongs to, as bytes: an IPv4 address, also one in IPv6's form; the /64 of an IPv6
/// address, as that is what one connection has. Of any other text the first 64 bytes.
struct VisitorId {
  explicit VisitorId(std::string_view address);
  [[nodiscard]] std::string_view bytes() const { return {bytes_.data(), size_}; }

 private:
  std::array<char, 64> bytes_{};
  size_t size_ = 0;
};

/// SipHash-2-4. Without the key nobody can find out the address, nor choose addresses that collide.
uint64_t keyed_hash(uint64_t key0, uint64_t key1, std::string_view text);

/// What an open lease says of its Idempotency-Key, with the key of the table's day. 0: `idempotency_id` is
/// empty.
uint64_t hash_of_key(const VisitorTable& table, std::string_view idempotency_id);

/// Where the visitor of a bot is counted, from 1: a place of his own, or when there are too many, one of a
/// group.
uint64_t place_of(VisitorTable& table, size_t entry, const VisitorId& visitor);

/// What is counted there. nullptr: there is no such place.
Count* committed_at(VisitorTable& table, uint64_t place);

}  // namespace bailian
