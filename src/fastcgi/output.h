#pragma once

#include <fcgiapp.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace bailian {

/// Small buffers for the outputs of one loop. Most outputs have bytes only from an event to the end of the
/// iteration, so a few buffers, which stay in the processor's cache, serve all streams.
class OutputBuffers {
 public:
  static constexpr size_t kBytes = 512;  // a token's record has about 150

  /// Throws std::bad_alloc.
  OutputBuffers() { spare_.reserve(kMaxSpare); }

  /// A buffer of kBytes, with any contents. Throws std::bad_alloc.
  std::vector<unsigned char> take();
  void put_back(std::vector<unsigned char> buffer) noexcept;

 private:
  static constexpr size_t kMaxSpare = 64;
  std::vector<std::vector<unsigned char>> spare_;
};

/// The bytes that wait to be sent to a FastCGI peer: a libfcgi stream (its table of functions is public) that
/// frames STDOUT records into one growing buffer and has no socket. libfcgi's own writer blocks and takes
/// 8 KiB per stream. If a call throws std::bad_alloc, the answer cannot be completed.
class FcgiOutput {
 public:
  /// `buffers` must outlive the output.
  explicit FcgiOutput(OutputBuffers& buffers);
  FcgiOutput(const FcgiOutput&) = delete;
  FcgiOutput& operator=(const FcgiOutput&) = delete;

  /// Begins the answer to a request. Everything before it must have been sent.
  void start(uint16_t request_id);
  /// Adds one event, in one record if it has at most kMaxEventBytes.
  void write_event(std::string_view event);
  /// Adds any number of bytes, in records as large as FastCGI allows.
  void write(std::string_view bytes);
  /// Closes the open record, so that it can be sent.
  void flush();
  /// Ends STDOUT and the request.
  void end();
  /// Drops the records of which nothing was sent and ends the request. Nothing may be written after it.
  void abort();
  /// Adds whole records of other streams, without padding, between those of the answer.
  void add_records(std::string_view records);

  /// Bytes not sent yet, those of an open record included.
  [[nodiscard]] size_t waiting_bytes() const;
  /// The bytes to send next: the rest of a record that was sent in part, then as many whole records as fit
  /// into `max_bytes`.
  [[nodiscard]] std::string_view next_records(size_t max_bytes = SIZE_MAX) const;
  /// Removes bytes that were sent.
  void consume(size_t bytes);

 private:
  static void empty_buffer(FCGX_Stream* stream, int do_close) noexcept;
  void check() const;
  void take_buffer();
  void close_record();
  void open_record(size_t room);
  void reserve(size_t bytes);
  void point_stream_at(size_t position);
  void compact();
  void append_record(unsigned char type, std::string_view content);
  [[nodiscard]] size_t write_position() const;
  [[nodiscard]] size_t record_size(size_t at) const;

  OutputBuffers& buffers_;
  FCGX_Stream stream_{};
  bool out_of_memory_ = false;
  uint16_t request_id_ = 0;
  std::vector<unsigned char> buffer_;  // empty while nothing waits
  size_t sent_ = 0;                    // end of the bytes that were sent
  size_t record_ = 0;                  // start of the open record, end of the closed ones
  size_t partial_ = 0;                 // unsent bytes of a record that was sent in part
};

}  // namespace bailian
