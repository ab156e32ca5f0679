#include "fastcgi/output.h"

#include <fastcgi.h>

#include <algorithm>
#include <cassert>
#include <new>
#include <utility>

#include "base/exchange.h"
#include "fastcgi/request_parser.h"

namespace bailian {
namespace {

constexpr size_t kMaxRecordBytes = 65528;                     // a multiple of 8, which needs no padding
constexpr char kCompleted[sizeof(FCGI_EndRequestBody)] = {};  // application status 0, FCGI_REQUEST_COMPLETE
constexpr size_t kKeptSentBytes = 4096;  // up to here the rest of the buffer is not moved
constexpr size_t kLargeBytes = 65536;    // a buffer of this size shrinks as it empties

}  // namespace

std::vector<unsigned char> OutputBuffers::take() {
  if (spare_.empty()) return std::vector<unsigned char>(kBytes);
  std::vector<unsigned char> buffer = std::move(spare_.back());
  spare_.pop_back();
  return buffer;
}

// One that has grown is freed.
void OutputBuffers::put_back(std::vector<unsigned char> buffer) noexcept {
  if (buffer.size() == kBytes && spare_.size() < kMaxSpare) spare_.push_back(std::move(buffer));
}

FcgiOutput::FcgiOutput(OutputBuffers& buffers) : buffers_(buffers) {
  stream_.emptyBuffProc = &FcgiOutput::empty_buffer;
  stream_.data = this;
}

void FcgiOutput::start(uint16_t request_id) {
  assert(waiting_bytes() == 0);
  request_id_ = request_id;
  stream_.isClosed = 0;
  stream_.wasFCloseCalled = 0;
  stream_.FCGI_errno = 0;
}

void FcgiOutput::write_event(std::string_view event) {
  assert(stream_.isClosed == 0);
  take_buffer();
  const size_t filled = write_position() - record_ - FCGI_HEADER_LEN;
  if (filled + event.size() > kMaxEventBytes) flush();
  write(event);
}

void FcgiOutput::write(std::string_view bytes) {
  take_buffer();
  if (bytes.size() > kMaxRecordBytes) {
    // A whole answer may have megabytes. Growth by doubling would take three times as much memory.
    const size_t position = write_position();
    const size_t records = bytes.size() / kMaxRecordBytes + 2;  // END_REQUEST included
    buffer_.reserve(position + bytes.size() + records * FCGI_HEADER_LEN + kMaxRecordBytes);
    point_stream_at(position);
  }
  reserve(std::min(bytes.size(), kMaxRecordBytes - (write_position() - record_ - FCGI_HEADER_LEN)));
  FCGX_PutStr(bytes.data(), static_cast<int>(bytes.size()), &stream_);
  check();
}

void FcgiOutput::flush() {
  if (!buffer_.empty()) FCGX_FFlush(&stream_);
  check();
}

void FcgiOutput::end() {
  take_buffer();
  FCGX_FClose(&stream_);
  check();
}

void FcgiOutput::abort() {
  record_ = sent_ + partial_;
  append_record(FCGI_END_REQUEST, {kCompleted, sizeof kCompleted});
}

void FcgiOutput::add_records(std::string_view records) {
  take_buffer();
  flush();
  if (buffer_.size() < record_ + records.size()) buffer_.resize(record_ + records.size());
  std::copy(records.begin(), records.end(), buffer_.begin() + static_cast<ptrdiff_t>(record_));
  record_ += records.size();
  open_record(0);
}

// libfcgi is C, so no exception may cross it: the stream is marked as closed, and check() throws.
void FcgiOutput::empty_buffer(FCGX_Stream* stream, int do_close) noexcept {
  auto& output = *static_cast<FcgiOutput*>(stream->data);
  try {
    output.close_record();
    if (do_close != 0) {
      output.append_record(FCGI_STDOUT, {});
      output.append_record(FCGI_END_REQUEST, {kCompleted, sizeof kCompleted});
    } else {
      // A full record means that more bytes follow; after a flush that is not certain.
      output.open_record(stream->wrNext == stream->stop ? kMaxRecordBytes : 0);
    }
  } catch (const std::exception&) {
    output.out_of_memory_ = true;
    stream->isClosed = 1;
  }
}

void FcgiOutput::check() const {
  if (out_of_memory_) throw std::bad_alloc();
}

void FcgiOutput::take_buffer() {
  if (!buffer_.empty()) return;
  buffer_ = buffers_.take();
  open_record(buffer_.size() - FCGI_HEADER_LEN);
}

void FcgiOutput::close_record() {
  const size_t end = write_position();
  const size_t content_start = record_ + FCGI_HEADER_LEN;
  if (end <= content_start) return;  // after abort() no record is open
  write_record_header(&buffer_[record_], FCGI_STDOUT, request_id_, end - content_start);
  record_ = end;
}

void FcgiOutput::open_record(size_t room) {
  const size_t start = record_ + FCGI_HEADER_LEN;
  if (buffer_.size() < start + room) buffer_.resize(start + room);
  point_stream_at(start);
}

// Makes room for `bytes` more in the open record.
void FcgiOutput::reserve(size_t bytes) {
  if (static_cast<size_t>(stream_.stop - stream_.wrNext) >= bytes) return;
  const size_t position = write_position();
  buffer_.resize(std::max(position + bytes, std::min(2 * buffer_.size(), position + kMaxRecordBytes)));
  point_stream_at(position);
}

// To be called after the buffer has moved.
void FcgiOutput::point_stream_at(size_t position) {
  stream_.wrNext = buffer_.data() + position;
  stream_.stop = buffer_.data() + std::min(buffer_.size(), record_ + FCGI_HEADER_LEN + kMaxRecordBytes);
  stream_.rdNext = stream_.stop;
}

void FcgiOutput::append_record(unsigned char type, std::string_view content) {
  const size_t size = FCGI_HEADER_LEN + content.size();
  if (buffer_.size() < record_ + size) buffer_.resize(record_ + size);
  write_record_header(&buffer_[record_], type, request_id_, content.size());
  std::copy(content.begin(), content.end(), &buffer_[record_] + FCGI_HEADER_LEN);
  record_ += size;
  stream_.wrNext = buffer_.data() + record_;
}

// Otherwise the buffer would grow with the answer if the reader always lags a little.
void FcgiOutput::compact() {
  if (sent_ < kKeptSentBytes || sent_ < waiting_bytes()) return;
  const size_t position = write_position() - sent_;
  const auto rest = buffer_.begin() + static_cast<ptrdiff_t>(sent_);
  if (buffer_.size() < kLargeBytes) {
    buffer_.erase(buffer_.begin(), rest);
  } else {
    buffer_ = std::vector<unsigned char>(rest, buffer_.end());
  }
  record_ -= sent_;
  sent_ = 0;
  point_stream_at(position);
}

size_t FcgiOutput::write_position() const {
  return stream_.wrNext == nullptr ? 0 : static_cast<size_t>(stream_.wrNext - buffer_.data());
}

// What follows the end of the request counts as its part: a peer that has read the end alone may already send
// its next request.
size_t FcgiOutput::record_size(size_t at) const {
  if (buffer_[at + 1] == FCGI_END_REQUEST) return record_ - at;
  return FCGI_HEADER_LEN + (size_t{buffer_[at + 4]} << 8 | buffer_[at + 5]);
}

size_t FcgiOutput::waiting_bytes() const {
  const size_t end = write_position();
  return (end > record_ + FCGI_HEADER_LEN ? end : record_) - sent_;
}

std::string_view FcgiOutput::next_records(size_t max_bytes) const {
  size_t end = sent_ + partial_;
  while (end < record_ && end + record_size(end) - sent_ <= max_bytes) end += record_size(end);
  return {reinterpret_cast<const char*>(buffer_.data()) + sent_, end - sent_};
}

void FcgiOutput::consume(size_t bytes) {
  assert(bytes <= record_ - sent_);
  size_t end = sent_ + partial_;
  sent_ += bytes;
  while (end < sent_) end += record_size(end);
  partial_ = end - sent_;
  if (sent_ < record_ || write_position() > record_ + FCGI_HEADER_LEN) return compact();
  sent_ = record_ = partial_ = 0;
  buffers_.put_back(std::exchange(buffer_, {}));
  stream_.wrNext = stream_.stop = stream_.rdNext = nullptr;
}

}  // namespace bailian
