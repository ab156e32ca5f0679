#pragma once

#include <fcgiapp.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace bailian {

/// What waits to be sent to a FastCGI peer: a libfcgi stream (its table of functions is public) that frames
/// STDOUT records into one growing buffer and never touches a socket. libfcgi's own writer would hold 8 KiB a
/// stream and block. Throws std::bad_alloc; the answer can't be completed then.
class FcgiOutput {
 public:
  FcgiOutput();
  FcgiOutput(const FcgiOutput&) = delete;
  FcgiOutput& operator=(const FcgiOutput&) = delete;

  /// Begins the answer to a request; nothing of an earlier one may be left.
  void start(uint16_t request_id);
  /// Adds a piece that stays in one record when it has at most kMaxEventBytes.
  void write_event(std::string_view event);
  /// Adds bytes of any number, in records as large as FastCGI allows.
  void write(std::string_view bytes);
  /// Closes the record that is being filled, so that it may be sent.
  void flush();
  /// Ends STDOUT and the request.
  void end();
  /// Drops what has not begun to leave and ends the request; nothing more may be written.
  void abort();
  /// Adds whole records that belong to no stream, without padding, between those of the answer.
  void add_records(std::string_view records);

  /// Bytes not sent yet, those of an open record included.
  [[nodiscard]] size_t waiting_bytes() const;
  /// The start of what may be sent: as many whole records as fit into `max_bytes`, behind the rest of one
  /// that was sent in part.
  [[nodiscard]] std::string_view next_records(size_t max_bytes) const;
  /// Everything that may be sent.
  [[nodiscard]] std::string_view all_records() const;
  /// Takes away what was sent.
  void consume(size_t bytes);

 private:
  static void empty_buffer(FCGX_Stream* stream, int do_close) noexcept;
  void next_record(int do_close);
  void check() const;
  void take_buffer();
  void free_buffer();
  void close_record();
  void open_record(size_t room);
  void reserve(size_t bytes);
  void point_stream_at(size_t position);
  void compact();
  void append_record(unsigned char type, std::string_view content);
  [[nodiscard]] size_t write_position() const;
  [[nodiscard]] size_t record_size(size_t at) const;

  FCGX_Stream stream_{};
  bool out_of_memory_ = false;
  uint16_t request_id_ = 0;
  std::vector<unsigned char> buffer_;  // empty while nothing waits
  size_t sent_ = 0;                    // before it, all has left
  size_t record_ = 0;                  // the open record starts here; before it all records are whole
  size_t partial_ = 0;                 // bytes behind sent_ that belong to a record sent in part
};

}  // namespace bailian
