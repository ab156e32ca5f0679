#include "fastcgi/request_parser.h"

#include <fastcgi.h>

#include <algorithm>
#include <cassert>
#include <optional>
#include <utility>

namespace bailian {

static_assert(sizeof(FCGI_Header) == FCGI_HEADER_LEN);
static_assert(sizeof(FCGI_BeginRequestBody) == 8);
static_assert(FcgiRequestParser::kMaxParamsBytes <= FCGI_MAX_LENGTH);

namespace {

// Holds the parameters of a chat request and most bodies, in one allocation.
constexpr size_t kUsualRequestBytes = 2048;

// Holds the names of all values that exist.
constexpr size_t kMaxGetValuesBytes = 256;

size_t content_bytes(const unsigned char* header) { return size_t{header[4]} << 8 | header[5]; }
uint16_t record_id(const unsigned char* header) { return static_cast<uint16_t>(header[2] << 8 | header[3]); }

struct Pair {
  std::string_view bytes;
  std::string_view name;
  std::string_view value;
};

// Removes a name-value pair (section 3.4) from the start of `left`; nothing if it is incomplete.
std::optional<Pair> take_pair(std::string_view& left) {
  std::string_view rest = left;
  size_t lengths[2] = {};  // of name and value
  for (size_t& length : lengths) {
    const size_t length_bytes = !rest.empty() && (rest.front() & 0x80) != 0 ? 4 : 1;
    if (rest.size() < length_bytes) return std::nullopt;
    length = rest.front() & 0x7f;
    for (size_t i = 1; i < length_bytes; ++i) length = length << 8 | static_cast<unsigned char>(rest[i]);
    rest.remove_prefix(length_bytes);
  }
  if (lengths[0] + lengths[1] > rest.size()) return std::nullopt;
  const size_t pair_bytes = left.size() - rest.size() + lengths[0] + lengths[1];
  const Pair pair = {left.substr(0, pair_bytes), rest.substr(0, lengths[0]),
                     rest.substr(lengths[0], lengths[1])};
  left.remove_prefix(pair_bytes);
  return pair;
}

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

bool FcgiRequestParser::feed(std::span<const unsigned char> bytes) {
  if (!fault_.empty()) return false;
  while (!bytes.empty()) {
    if (header_size_ < FCGI_HEADER_LEN) {
      if (header_size_ == 0 && bytes.front() != FCGI_VERSION_1) return reject("not FastCGI version 1");
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

bool FcgiRequestParser::take_header() {
  const unsigned char type = header_[1];
  const uint16_t id = record_id(header_);
  content_left_ = content_bytes(header_);
  padding_left_ = header_[6];
  content_ = Content::kNothing;

  if (is_closing_) return true;
  if (id == FCGI_NULL_REQUEST_ID) return take_management(type);
  if (type == FCGI_BEGIN_REQUEST && (state_ == State::kBegin || id != request_id_)) {
    if (content_left_ != sizeof begin_body_) return reject("a BEGIN_REQUEST of wrong length");
    content_ = Content::kBegin;
    begin_size_ = 0;
    return true;
  }
  // "the receiver must ignore records with a request ID that is inactive" (section 3.3)
  if (state_ == State::kBegin && !has_refused_) return reject("a record before BEGIN_REQUEST");
  if (state_ == State::kBegin || id != request_id_) return true;
  if (type == FCGI_ABORT_REQUEST) return true;
  if (state_ == State::kParams && type == FCGI_PARAMS) {
    content_ = Content::kParams;
  } else if (state_ == State::kStdin && type == FCGI_STDIN) {
    content_ = Content::kStdin;
  } else {
    return reject("a record out of order");
  }
  return true;
}

bool FcgiRequestParser::take_management(unsigned char type) {
  if (type <= FCGI_DATA) return reject("a request's record without a request id");
  if (type != FCGI_GET_VALUES) {
    const char unknown[sizeof(FCGI_UnknownTypeBody)] = {static_cast<char>(type)};
    return reply(FCGI_UNKNOWN_TYPE, FCGI_NULL_REQUEST_ID, {unknown, sizeof unknown});
  }
  content_ = Content::kGetValues;
  values_.clear();
  return true;
}

bool FcgiRequestParser::take_content(std::span<const unsigned char> content) {
  switch (content_) {
    case Content::kBegin:
      std::copy(content.begin(), content.end(), begin_body_ + begin_size_);
      begin_size_ += content.size();
      break;
    case Content::kParams:
      return take_params_content(content);
    case Content::kStdin:
      take_stdin_content(content);
      break;
    case Content::kGetValues: {
      const auto part = content.first(std::min(content.size(), kMaxGetValuesBytes - values_.size()));
      values_.append(reinterpret_cast<const char*>(part.data()), part.size());
      break;
    }
    case Content::kNothing:
      break;
  }
  return true;
}

bool FcgiRequestParser::take_params_content(std::span<const unsigned char> content) {
  params_bytes_ += content.size();
  if (params_bytes_ > kMaxDroppedParamsBytes) return reject("parameters without end");
  const size_t kept = wire_.size() - open_record_ - FCGI_HEADER_LEN;
  const auto part = content.first(std::min(content.size(), kMaxParamsBytes - kept));
  if (!part.empty()) append(FCGI_PARAMS, part);
  params_too_large_ = params_bytes_ > kMaxParamsBytes;
  return true;
}

void FcgiRequestParser::take_stdin_content(std::span<const unsigned char> content) {
  body_bytes_ += content.size();
  if (body_bytes_ > max_body_bytes_ && !body_too_large_) {
    body_too_large_ = true;
    drop_body();
  }
  if (!body_dropped_) append(FCGI_STDIN, content);
}

void FcgiRequestParser::drop_body() {
  assert(has_params());
  if (std::exchange(body_dropped_, true)) return;
  wire_.resize(body_start_);
  append(FCGI_STDIN, {});
}

bool FcgiRequestParser::end_record() {
  header_size_ = 0;
  if (content_ == Content::kBegin) return end_begin();
  if (content_ == Content::kGetValues) return end_get_values();
  const bool is_ours = state_ != State::kBegin && record_id(header_) == request_id_;
  if (is_ours && header_[1] == FCGI_ABORT_REQUEST) return abort();
  if (content_ == Content::kNothing || content_bytes(header_) > 0) return true;
  if (content_ == Content::kParams && !take_params())
    return reject("name or value longer than its record stream");
  // A stream ends with an empty record: the open one, if it is empty.
  if (wire_.size() - open_record_ > FCGI_HEADER_LEN) append(header_[1], {});
  if (content_ == Content::kParams) {
    state_ = State::kStdin;
    body_start_ = wire_.size();
    append(FCGI_STDIN, {});
  } else {
    state_ = State::kComplete;
  }
  return true;
}

bool FcgiRequestParser::end_begin() {
  if (state_ != State::kBegin) return refuse(record_id(header_), FCGI_CANT_MPX_CONN);
  keep_conn_ = (begin_body_[2] & FCGI_KEEP_CONN) != 0;
  if ((begin_body_[0] << 8 | begin_body_[1]) != FCGI_RESPONDER) {
    is_closing_ = !keep_conn_;
    return refuse(record_id(header_), FCGI_UNKNOWN_ROLE);
  }
  request_id_ = record_id(header_);
  // libfcgi closes the descriptor it reads from unless the request says otherwise.
  begin_body_[2] |= FCGI_KEEP_CONN;
  wire_.clear();
  wire_.reserve(kUsualRequestBytes);
  open_record_ = 0;
  append(FCGI_BEGIN_REQUEST, begin_body_);
  state_ = State::kParams;
  append(FCGI_PARAMS, {});
  return true;
}

// Section 4.1: the requested values that are known.
bool FcgiRequestParser::end_get_values() {
  const std::string max_requests = std::to_string(max_requests_);
  std::array<std::pair<std::string_view, std::string_view>, 3> known = {
      {{FCGI_MAX_CONNS, max_requests}, {FCGI_MAX_REQS, max_requests}, {FCGI_MPXS_CONNS, "0"}}};
  std::string result;
  std::string_view left = values_;
  while (const auto pair = take_pair(left)) {
    for (auto& [name, value] : known) {
      if (name.empty() || pair->name != name) continue;
      result += static_cast<char>(name.size());
      result += static_cast<char>(value.size());
      result.append(name).append(value);
      name = {};  // each is sent once
    }
  }
  return reply(FCGI_GET_VALUES_RESULT, FCGI_NULL_REQUEST_ID, result);
}

bool FcgiRequestParser::refuse(uint16_t id, unsigned char protocol_status) {
  has_refused_ = true;
  const char end[sizeof(FCGI_EndRequestBody)] = {0, 0, 0, 0, static_cast<char>(protocol_status)};
  return reply(FCGI_END_REQUEST, id, {end, sizeof end});
}

// Section 5.4. A complete request is ended by the connection.
bool FcgiRequestParser::abort() {
  if (state_ == State::kComplete) {
    aborted_ = true;
    return true;
  }
  is_closing_ = !keep_conn_;
  forget_request();
  return refuse(request_id_, FCGI_REQUEST_COMPLETE);
}

void FcgiRequestParser::expect_next(size_t max_body_bytes) {
  assert(state_ == State::kComplete);
  max_body_bytes_ = max_body_bytes;
  replied_ = 0;
  forget_request();
}

void FcgiRequestParser::forget_request() {
  state_ = State::kBegin;
  release_wire();
  params_too_large_ = body_too_large_ = body_dropped_ = aborted_ = false;
  params_bytes_ = body_bytes_ = 0;
}

bool FcgiRequestParser::reply(unsigned char type, uint16_t id, std::string_view content) {
  if (++replied_ > kMaxReplies) return reject("too many records that are no request");
  unsigned char header[FCGI_HEADER_LEN];
  write_record_header(header, type, id, content.size());
  replies_.append(reinterpret_cast<const char*>(header), sizeof header).append(content);
  return true;
}

// Continues the open record if it has room. Empty content opens a new record, as at the start of a stream.
void FcgiRequestParser::append(unsigned char type, std::span<const unsigned char> content) {
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

// Keeps only kParamsRead in the PARAMS record. If the parameters were too large, the last one may be cut.
bool FcgiRequestParser::take_params() {
  const size_t content = open_record_ + FCGI_HEADER_LEN;
  std::array<bool, kParamsRead.size()> seen{};
  std::string kept;
  std::string_view left = std::string_view(wire_).substr(content);
  while (const auto pair = take_pair(left)) {
    const auto known = std::find(kParamsRead.begin(), kParamsRead.end(), pair->name);
    if (known == kParamsRead.end()) continue;
    if (std::exchange(seen[static_cast<size_t>(known - kParamsRead.begin())], true)) continue;
    kept += pair->bytes;
  }
  if (!left.empty() && !params_too_large_) return false;
  wire_.resize(content);
  wire_ += kept;
  write_record_header(reinterpret_cast<unsigned char*>(&wire_[open_record_]), FCGI_PARAMS, request_id_,
                      kept.size());
  return true;
}

std::string_view FcgiRequestParser::param(std::string_view name) const {
  if (!has_params()) return {};
  constexpr size_t kRecord = sizeof(FCGI_BeginRequestRecord);  // the PARAMS record follows
  const size_t content = content_bytes(reinterpret_cast<const unsigned char*>(&wire_[kRecord]));
  std::string_view left = std::string_view(wire_).substr(kRecord + FCGI_HEADER_LEN, content);
  while (const auto pair = take_pair(left)) {
    if (pair->name == name) return pair->value.substr(0, pair->value.find('\0'));  // as libfcgi reads it
  }
  return {};
}

bool FcgiRequestParser::reject(std::string_view why) {
  fault_ = why;
  return false;
}

}  // namespace bailian
