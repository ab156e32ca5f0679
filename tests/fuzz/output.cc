// However an answer is written and however little the socket accepts, the peer receives all its bytes in
// whole records, and no event is cut.
#include "fastcgi/output.h"

#include <fastcgi.h>
#include <fuzzer/FuzzedDataProvider.h>

#include <string>
#include <vector>

#include "base/exchange.h"
#include "fuzz.h"

namespace bailian {
namespace {

// Kept between runs: allocating it would cost more than everything else.
struct Bytes {
  std::string event;
  std::string written;
  std::string sent;
  std::string received;
};

class Answer {
 public:
  Answer(FcgiOutput& output, uint16_t request_id, Bytes& bytes)
      : output_(output), request_id_(request_id), bytes_(bytes) {
    output_.start(request_id);
    bytes_.written.clear();
    bytes_.sent.clear();
  }

  void write(size_t size, bool is_event) {
    bytes_.event.assign(size, next_letter());
    if (is_event) {
      output_.write_event(bytes_.event);
    } else {
      output_.write(bytes_.event);
    }
    bytes_.written += bytes_.event;
    if (is_event && size <= kMaxEventBytes) events_.push_back({bytes_.written.size() - size, size});
  }
  void flush() { output_.flush(); }
  void end() { output_.end(); }

  // The socket accepts at most `part` bytes.
  void send(size_t max_bytes, size_t part, bool all) {
    const std::string_view offered = all ? output_.next_records() : output_.next_records(max_bytes);
    fuzz::expect(output_.next_records().starts_with(offered), "what is offered comes first");
    const std::string_view taken = offered.substr(0, part);
    if (taken.empty()) return;
    const size_t waiting = output_.waiting_bytes();
    bytes_.sent += taken;
    output_.consume(taken.size());
    fuzz::expect(output_.waiting_bytes() == waiting - taken.size(), "what was sent no longer waits");
  }

  void check_whole() {
    send(0, std::string::npos, true);
    fuzz::expect(output_.waiting_bytes() == 0, "nothing is left behind");
    std::string& received = bytes_.received;
    received.clear();
    std::vector<size_t> ends;
    bool ended = false;
    std::string_view rest = bytes_.sent;
    while (!rest.empty()) {
      fuzz::expect(!ended, "nothing follows the end");
      fuzz::expect(rest.size() >= FCGI_HEADER_LEN, "a record has a header");
      const auto byte = [&](size_t at) { return size_t{static_cast<unsigned char>(rest[at])}; };
      const size_t content = byte(4) << 8 | byte(5);
      fuzz::expect(byte(0) == FCGI_VERSION_1 && (byte(2) << 8 | byte(3)) == request_id_ && byte(6) == 0,
                   "a record is of this request");
      fuzz::expect(rest.size() >= FCGI_HEADER_LEN + content, "a record is whole");
      if (byte(1) == FCGI_STDOUT && content > 0) {
        fuzz::expect(ends.empty() || ends.back() != std::string::npos, "nothing follows the end of STDOUT");
        received += rest.substr(FCGI_HEADER_LEN, content);
        ends.push_back(received.size());
      } else if (byte(1) == FCGI_STDOUT) {
        ends.push_back(std::string::npos);
      } else {
        fuzz::expect(byte(1) == FCGI_END_REQUEST && content == sizeof(FCGI_EndRequestBody),
                     "the request ends");
        fuzz::expect(!ends.empty() && ends.back() == std::string::npos, "STDOUT ends before the request");
        ended = true;
      }
      rest.remove_prefix(FCGI_HEADER_LEN + content);
    }
    fuzz::expect(ended, "an answer ends");
    fuzz::expect(received == bytes_.written, "what was written is received");
    check_events(ends);
  }

 private:
  struct Span {
    size_t start;
    size_t size;
  };

  char next_letter() { return letter_ = letter_ == 'z' ? 'a' : static_cast<char>(letter_ + 1); }

  // `ends` are the ends of the records, in order.
  void check_events(const std::vector<size_t>& ends) const {
    auto end = ends.begin();
    for (const Span& event : events_) {
      while (end != ends.end() && *end <= event.start) ++end;
      fuzz::expect(event.size == 0 || event.start + event.size <= *end, "an event is in one record");
    }
  }

  FcgiOutput& output_;
  uint16_t request_id_;
  char letter_ = 'z';
  Bytes& bytes_;
  std::vector<Span> events_;
};

// Most are small, some as long as an event or a record may be, or a little longer.
size_t pick_size(FuzzedDataProvider& input) {
  constexpr size_t kMaxRecordBytes = 65528;
  const auto size = input.ConsumeIntegral<uint16_t>();
  switch (input.ConsumeIntegralInRange(0, 63)) {
    case 0:
      return kMaxRecordBytes - 2 + size % 5;
    case 1:
    case 2:
      return kMaxEventBytes - 2 + size % 5;
    default:
      return size % 160;
  }
}

}  // namespace
}  // namespace bailian

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  constexpr int kMaxSteps = 12;
  static Bytes bytes;
  FuzzedDataProvider input(data, size);
  OutputBuffers buffers;
  FcgiOutput output(buffers);
  for (int answers = 0; answers < 2 && input.remaining_bytes() > 0; ++answers) {
    Answer answer(output, input.ConsumeIntegral<uint16_t>(), bytes);
    for (int steps = 0; steps < kMaxSteps && input.remaining_bytes() > 0; ++steps) {
      const auto step = input.ConsumeIntegralInRange(0, 9);
      if (step < 4) {
        answer.write(pick_size(input), step < 3);
      } else if (step < 6) {
        answer.flush();
      } else if (step < 9) {
        answer.send(input.ConsumeIntegral<uint16_t>(), pick_size(input), step == 6);
      } else {
        break;
      }
    }
    answer.end();
    answer.check_whole();
  }
  return 0;
}
