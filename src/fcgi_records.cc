#include "fcgi_records.h"

#include <fastcgi.h>

#include <algorithm>
#include <utility>

namespace bailian {

static_assert(sizeof(FCGI_Header) == FCGI_HEADER_LEN);
static_assert(sizeof(FCGI_BeginRequestBody) == 8);
static_assert(RequestRecords::kMaxParamsBytes <= FCGI_MAX_LENGTH);

namespace {

// Enough for every header of a chat request, so that most bodies need one allocation.
constexpr size_t kUsualRequestBytes = 2048;

size_t content_bytes(const unsigned char* header) { return size_t{header[4]} << 8 | header[5]; }

}  // namespace

void write_record_header(unsigned char* into, unsigned char type, uint16_t request_id, size_t content) {
  into[0] = FCGI_VERSION_1;
  into[1] = type;
  into[2] = static_cast<unsigned char>(request_id >> 8);
  into[3] = static_cast<unsigned char>(request_id);
  into[4] = static_cast<unsigned char>(content >> 8);
  into[5] = static_cast<unsigned char>(content);
  into[6] = 0;
  into[7] = 0;
}

bool RequestRecords::feed(std::span<const unsigned char> bytes) {
  if (!fault_.empty()) return false;
  while (!bytes.empty()) {
    if (state_ == State::kComplete) return reject("bytes behind the request");
    if (header_size_ < FCGI_HEADER_LEN) {
      header_[header_size_++] = bytes.front();
      bytes = bytes.subspan(1);
      if (header_size_ < FCGI_HEADER_LEN) continue;
      if (!take_header()) return false;
    } else if (content_left_ > 0) {
      const auto content = bytes.first(std::min(content_left_, bytes.size()));
      if (!take_content(content)) return false;
      content_left_ -= content.size();
      bytes = bytes.subspan(content.size());
    } else {
      const size_t padding = std::min(padding_left_, bytes.size());
      padding_left_ -= padding;
      bytes = bytes.subspan(padding);
    }
    if (content_left_ == 0 && padding_left_ == 0 && !end_record()) return false;
  }
  return true;
}

bool RequestRecords::take_header() {
  const unsigned char type = header_[1];
  const auto id = static_cast<uint16_t>(header_[2] << 8 | header_[3]);
  content_left_ = content_bytes(header_);
  padding_left_ = header_[6];

  if (header_[0] != FCGI_VERSION_1) return reject("not FastCGI version 1");
  if (id == FCGI_NULL_REQUEST_ID) return reject("a management record");
  if (state_ == State::kBegin) {
    if (type != FCGI_BEGIN_REQUEST) return reject("a record before BEGIN_REQUEST");
    if (content_left_ != sizeof begin_body_) return reject("a BEGIN_REQUEST of wrong length");
    request_id_ = id;
    return true;
  }
  if (id != request_id_) return reject("a second request on one connection");
  if (type == FCGI_ABORT_REQUEST) return reject("ABORT_REQUEST");
  if (type != (state_ == State::kParams ? FCGI_PARAMS : FCGI_STDIN)) return reject("a record out of order");
  return true;
}

bool RequestRecords::take_content(std::span<const unsigned char> content) {
  if (state_ == State::kBegin) {
    std::copy(content.begin(), content.end(), begin_body_ + begin_size_);
    begin_size_ += content.size();
    return true;
  }
  if (state_ == State::kParams) {
    if (wire_.size() - open_record_ - FCGI_HEADER_LEN + content.size() > kMaxParamsBytes) {
      return reject("parameters over the limit");
    }
    append(FCGI_PARAMS, content);
    return true;
  }
  body_bytes_ += content.size();
  if (body_bytes_ > max_body_bytes_ && !body_too_large_) {
    body_too_large_ = true;
    wire_.resize(body_start_);
    append(FCGI_STDIN, {});
  }
  if (!body_too_large_) append(FCGI_STDIN, content);
  return true;
}

bool RequestRecords::end_record() {
  header_size_ = 0;
  if (state_ == State::kBegin) return begin_request();
  if (content_bytes(header_) > 0) return true;
  if (state_ == State::kParams) {
    if (!take_params()) return reject("name or value longer than its record stream");
    close_stream(FCGI_PARAMS);
    state_ = State::kStdin;
    body_start_ = wire_.size();
    append(FCGI_STDIN, {});
  } else {
    close_stream(FCGI_STDIN);
    state_ = State::kComplete;
  }
  return true;
}

bool RequestRecords::begin_request() {
  if ((begin_body_[0] << 8 | begin_body_[1]) != FCGI_RESPONDER) return reject("a role other than responder");
  keep_conn_ = (begin_body_[2] & FCGI_KEEP_CONN) != 0;
  // libfcgi closes the descriptor it reads from unless the request says otherwise.
  begin_body_[2] |= FCGI_KEEP_CONN;
  wire_.reserve(kUsualRequestBytes);
  append(FCGI_BEGIN_REQUEST, begin_body_);
  state_ = State::kParams;
  append(FCGI_PARAMS, {});
  return true;
}

// Continues the open record when it has room; an empty content always opens a new one, and begins each
// stream.
void RequestRecords::append(unsigned char type, std::span<const unsigned char> content) {
  do {
    const size_t filled = wire_.size() - open_record_;
    const bool continues =
        !content.empty() && filled >= FCGI_HEADER_LEN && filled < FCGI_HEADER_LEN + FCGI_MAX_LENGTH;
    if (!continues) {
      open_record_ = wire_.size();
      wire_.resize(open_record_ + FCGI_HEADER_LEN);
    }
    const size_t room = FCGI_HEADER_LEN + FCGI_MAX_LENGTH - (wire_.size() - open_record_);
    const auto part = content.first(std::min(room, content.size()));
    wire_.append(reinterpret_cast<const char*>(part.data()), part.size());
    content = content.subspan(part.size());
    write_record_header(reinterpret_cast<unsigned char*>(&wire_[open_record_]), type, request_id_,
                        wire_.size() - open_record_ - FCGI_HEADER_LEN);
  } while (!content.empty());
}

// A stream ends with an empty record; the open one serves when nothing stands in it.
void RequestRecords::close_stream(unsigned char type) {
  if (wire_.size() - open_record_ > FCGI_HEADER_LEN) append(type, {});
}

// Walks the name-value pairs (section 3.4) of the one PARAMS record that holds them all, and leaves those in
// it that are read.
bool RequestRecords::take_params() {
  const size_t content = open_record_ + FCGI_HEADER_LEN;
  std::array<bool, kParamsRead.size()> seen{};
  std::string kept;
  std::string_view left = std::string_view(wire_).substr(content);
  while (!left.empty()) {
    const std::string_view pair = left;
    size_t lengths[2] = {};  // of name and value
    for (size_t& length : lengths) {
      const size_t length_bytes = !left.empty() && (left.front() & 0x80) != 0 ? 4 : 1;
      if (left.size() < length_bytes) return false;
      length = left.front() & 0x7f;
      for (size_t i = 1; i < length_bytes; ++i) length = length << 8 | static_cast<unsigned char>(left[i]);
      left.remove_prefix(length_bytes);
    }
    if (lengths[0] + lengths[1] > left.size()) return false;
    const auto known = std::find(kParamsRead.begin(), kParamsRead.end(), left.substr(0, lengths[0]));
    left.remove_prefix(lengths[0] + lengths[1]);
    if (known == kParamsRead.end()) continue;
    if (std::exchange(seen[static_cast<size_t>(known - kParamsRead.begin())], true)) continue;
    kept += pair.substr(0, pair.size() - left.size());
  }
  wire_.resize(content);
  wire_ += kept;
  write_record_header(reinterpret_cast<unsigned char*>(&wire_[open_record_]), FCGI_PARAMS, request_id_,
                      kept.size());
  return true;
}

bool RequestRecords::reject(std::string_view why) {
  fault_ = why;
  return false;
}

}  // namespace bailian
