#include "ledger/redis_reply.h"

#include <string>
#include <vector>

#include "fuzz.h"

namespace bailian {
namespace {

size_t count(const RedisReply& reply) {
  size_t items = 1;
  for (const RedisReply& item : reply.items) items += count(item);
  return items;
}

class Recorder {
 public:
  std::vector<RedisReply> replies;
  bool good = true;

  bool feed(std::string_view bytes) {
    reader_.feed(bytes);
    while (auto reply = reader_.next()) {
      fuzz::expect(count(*reply) <= RedisReplyReader::kMaxItems + 1, "a reply is bounded");
      fuzz::expect(reply->kind == RedisReply::Kind::kArray || reply->items.empty(),
                   "only an array has items");
      replies.push_back(std::move(*reply));
    }
    return good = reader_.fault().empty();
  }

 private:
  RedisReplyReader reader_;
};

}  // namespace
}  // namespace bailian

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  const std::string_view text = fuzz::as_text(data, size);
  Recorder whole;
  whole.feed(text);
  Recorder cut;
  auto random = fuzz::choices_for(text);
  fuzz::feed_in_pieces(text, random, [&](std::string_view piece) { return cut.feed(piece); });
  fuzz::expect(whole.good == cut.good, "cuts do not decide whether the replies are good");
  fuzz::expect(whole.replies == cut.replies, "cuts do not change the replies");
  return 0;
}
