// What a FastCGI peer sends, cut anywhere, is refused or becomes a request that libfcgi reads as it was
// meant.
#include <fastcgi.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "fcgi_records.h"
#include "fcgi_request.h"
#include "fuzz.h"

namespace bailian {
namespace {

using State = RequestRecords::State;

bool feed(RequestRecords& records, std::string_view bytes) {
  return records.feed({reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()});
}

// The streams of a request, taken from records that are known to be well formed.
struct Streams {
  std::string params;
  std::string body;
  size_t records = 0;
};

Streams streams_of(std::string_view bytes) {
  Streams streams;
  while (!bytes.empty()) {
    const auto byte = [&](size_t at) { return size_t{static_cast<unsigned char>(bytes[at])}; };
    fuzz::expect(bytes.size() >= FCGI_HEADER_LEN && byte(0) == FCGI_VERSION_1, "a record has a header");
    const size_t content = byte(4) << 8 | byte(5);
    const size_t size = FCGI_HEADER_LEN + content + byte(6);
    fuzz::expect(bytes.size() >= size, "a record is whole");
    if (byte(1) == FCGI_PARAMS) streams.params += bytes.substr(FCGI_HEADER_LEN, content);
    if (byte(1) == FCGI_STDIN) streams.body += bytes.substr(FCGI_HEADER_LEN, content);
    ++streams.records;
    bytes.remove_prefix(size);
  }
  return streams;
}

size_t take_length(std::string_view& bytes) {
  size_t length = static_cast<unsigned char>(bytes[0]);
  size_t taken = 1;
  if (length >= 0x80) {
    length &= 0x7f;
    for (; taken < 4; ++taken) length = length << 8 | static_cast<unsigned char>(bytes[taken]);
  }
  bytes.remove_prefix(taken);
  return length;
}

using Params = std::map<std::string, std::string, std::less<>>;

// Of several with one name the first counts; those that are not read don't at all.
Params params_read(std::string_view bytes) {
  Params params;
  while (!bytes.empty()) {
    const size_t name_size = take_length(bytes);
    const size_t value_size = take_length(bytes);
    const std::string_view name = bytes.substr(0, name_size);
    if (std::find(RequestRecords::kParamsRead.begin(), RequestRecords::kParamsRead.end(), name) !=
        RequestRecords::kParamsRead.end())
      params.emplace(name, bytes.substr(name_size, value_size));
    bytes.remove_prefix(name_size + value_size);
  }
  return params;
}

// libfcgi knows texts that end with a NUL byte and finds the first of a name.
std::optional<std::string> find_param(std::string_view params, std::string_view name) {
  while (!params.empty()) {
    const size_t name_size = take_length(params);
    const size_t value_size = take_length(params);
    const std::string pair(params.substr(0, name_size));
    const std::string value(params.substr(name_size, value_size));
    params.remove_prefix(name_size + value_size);
    const std::string whole = pair + "=" + value;
    const std::string entry = whole.substr(0, whole.find('\0'));
    if (entry.starts_with(std::string(name) + "=")) return entry.substr(name.size() + 1);
  }
  return std::nullopt;
}

void check_request(FcgiRequestReader& reader, const RequestRecords& records, const Streams& sent) {
  const Streams checked = streams_of(records.wire());
  fuzz::expect(params_read(checked.params) == params_read(sent.params), "what is read is passed on");
  fuzz::expect(checked.body == (records.body_too_large() ? "" : sent.body), "the body is passed on");
  fuzz::expect(checked.records <= 5 + checked.body.size() / FCGI_MAX_LENGTH, "records are few");
  const auto request = reader.read(records);
  const std::string declared = find_param(checked.params, "CONTENT_LENGTH").value_or("");
  if (!request) {
    fuzz::expect(!declared.empty() && declared != std::to_string(checked.body.size()),
                 "a request that contradicts nothing is read");
    return;
  }
  fuzz::expect(request->body == checked.body, "libfcgi reads the body");
  fuzz::expect(request->host == find_param(checked.params, "HTTP_HOST").value_or(""),
               "libfcgi reads the parameters");
  fuzz::expect(!request->request_id.empty() && request->request_id.size() <= 128, "a request has an id");
  for (const std::string_view text : {request->request_id, request->origin, request->method}) {
    fuzz::expect(
        std::none_of(text.begin(), text.end(), [](unsigned char c) { return c <= ' ' || c == 0x7f; }),
        "what is sent back forges no header");
  }
}

}  // namespace
}  // namespace bailian

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  bailian::init_libfcgi();
  for (const int number : {SIGPIPE, SIGUSR1, SIGTERM}) std::signal(number, SIG_DFL);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bailian;
  static FcgiRequestReader reader;
  const std::string_view bytes = fuzz::as_text(data, size);
  auto random = fuzz::choices_for(bytes);
  const size_t max_body = random() % 4 == 0 ? random() % 64 : 1 << 20;
  RequestRecords whole(max_body);
  const bool good = feed(whole, bytes);
  RequestRecords cut(max_body);
  bool good_cut = true;
  fuzz::feed_in_pieces(bytes, random, [&](std::string_view piece) { return good_cut = feed(cut, piece); });

  fuzz::expect(good == good_cut && good == whole.fault().empty(), "cuts do not decide what is refused");
  fuzz::expect(whole.fault() == cut.fault() && whole.state() == cut.state(), "cuts do not change the fault");
  fuzz::expect(whole.wire() == cut.wire(), "cuts do not change the request");
  constexpr size_t kMostHeaders = 64;
  fuzz::expect(whole.wire().size() <= RequestRecords::kMaxParamsBytes + max_body + kMostHeaders,
               "memory is bounded");
  if (good && whole.state() == State::kComplete) check_request(reader, whole, streams_of(bytes));
  return 0;
}
