#include "ledger/visitors.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <bit>
#include <cstring>

namespace bailian {
namespace {

struct SipState {
  uint64_t v0, v1, v2, v3;

  void round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void add(uint64_t word) {
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  }
};

// Takes a place for one more visitor, if there is one.
bool count_visitor(VisitorTable& table) {
  uint64_t count = table.count.load(std::memory_order_acquire);
  do {
    if (count >= kVisitors) return false;
  } while (!table.count.compare_exchange_weak(count, count + 1, std::memory_order_acq_rel));
  return true;
}

// With the key of the table's day; never 0.
uint64_t hash_of(const VisitorTable& table, std::string_view text) {
  const uint64_t hash = keyed_hash(table.key[0].load(std::memory_order_relaxed),
                                   table.key[1].load(std::memory_order_relaxed), text);
  return hash == 0 ? 1 : hash;
}

}  // namespace

VisitorId::VisitorId(std::string_view address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  in6_addr ip{};
  const bool is_short = address.size() < text.size();
  if (is_short) address.copy(text.data(), address.size());
  if (is_short && ::inet_pton(AF_INET, text.data(), &ip) == 1) {
    size_ = 4;
  } else if (is_short && ::inet_pton(AF_INET6, text.data(), &ip) == 1) {
    size_ = IN6_IS_ADDR_V4MAPPED(&ip) ? 4 : 8;
    if (size_ == 4) std::memmove(&ip, &ip.s6_addr[12], 4);
  } else {
    size_ = address.copy(bytes_.data(), bytes_.size());
    return;
  }
  std::memcpy(bytes_.data(), &ip, size_);
}

uint64_t keyed_hash(uint64_t key0, uint64_t key1, std::string_view text) {
  SipState state{key0 ^ 0x736f6d6570736575, key1 ^ 0x646f72616e646f6d, key0 ^ 0x6c7967656e657261,
                 key1 ^ 0x7465646279746573};
  const uint64_t size = text.size();
  for (; text.size() >= 8; text.remove_prefix(8)) {
    uint64_t word = 0;
    std::memcpy(&word, text.data(), 8);
    state.add(word);
  }
  uint64_t last = size << 56;
  for (size_t i = 0; i < text.size(); ++i) last |= uint64_t{static_cast<unsigned char>(text[i])} << 8 * i;
  state.add(last);
  state.v2 ^= 0xff;
  for (int i = 0; i < 4; ++i) state.round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

uint64_t hash_of_key(const VisitorTable& table, std::string_view idempotency_id) {
  return idempotency_id.empty() ? 0 : hash_of(table, idempotency_id);
}

uint64_t place_of(VisitorTable& table, size_t entry, const VisitorId& visitor) {
  std::array<char, 66> text{static_cast<char>(entry & 0xff), static_cast<char>(entry >> 8)};
  const size_t size = 2 + visitor.bytes().copy(text.data() + 2, text.size() - 2);
  const uint64_t hash = hash_of(table, {text.data(), size});
  // Half of the slots are always free, so this ends soon.
  for (size_t i = 0; i < kVisitorSlots; ++i) {
    const uint64_t place = (hash + i) % kVisitorSlots;
    Count& slot = table.slots[place].hash;
    uint64_t found = slot.load(std::memory_order_acquire);
    if (found == 0) {
      if (!count_visitor(table)) break;
      if (slot.compare_exchange_strong(found, hash, std::memory_order_acq_rel)) return place + 1;
      table.count.fetch_sub(1, std::memory_order_acq_rel);  // another visitor has got it
    }
    if (found == hash) return place + 1;
  }
  return kVisitorSlots + hash % kVisitorGroups + 1;
}

Count* committed_at(VisitorTable& table, uint64_t place) {
  if (place == 0 || place > kVisitorSlots + kVisitorGroups) return nullptr;
  if (place <= kVisitorSlots) return &table.slots[place - 1].committed;
  return &table.groups[place - 1 - kVisitorSlots];
}

}  // namespace bailian
