#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace bailian::e2e {

// The results of all requests.
struct Totals {
  size_t streams = 0;  // whole: their text byte for byte, then the last event
  size_t chats = 0;    // answers as JSON, likewise
  size_t healths = 0;
  size_t refused = 0;  // no answer, or another status than 200
  size_t cut = 0;      // an answer that ended too early, or never
  size_t wrong = 0;    // a wrong answer
  std::string first_fault;
};

// Visitors of a web server on 127.0.0.1, on a separate thread: a constant number of streams, a new one
// for each that ends, and short requests at a steady pace. Every answer is checked from start to end.
class Load {
 public:
  Load(uint16_t port, size_t streams);
  ~Load();

  // Waits until all streams are open.
  void await_streams();
  // Waits for this many more answers.
  void await_answers(size_t more);
  // Sends no more requests, and waits for the answers in progress.
  Totals finish();

 private:
  void run();

  const uint16_t port_;
  const size_t streams_;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t open_streams_ = 0;  // guarded by mutex_
  size_t answers_ = 0;       // likewise
  std::atomic<bool> ending_{false};
  Totals totals_;  // used by the thread until it has ended
  std::thread thread_;
};

}  // namespace bailian::e2e
