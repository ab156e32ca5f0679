#include "service/worker.h"

#include <cassert>
#include <utility>

namespace bailian {
namespace {

FcgiLimits fcgi_limits(const Config& config) {
  return {config.max_body_bytes, config.max_streams, to_duration(config.client_stall_timeout),
          to_duration(config.timeout)};
}

}  // namespace

Worker::Worker(const Config& config, ServiceState& state, ConnectionCount& connections, int listening_fd)
    : loop_(std::chrono::duration_cast<std::chrono::nanoseconds>(config.token_coalesce)),
      router_(loop_, config, state),
      listener_(
          loop_, listening_fd, fcgi_limits(config), connections, router_.board(), state.metrics,
          {[this](const Request& request, ClientStream& client) { return router_.handle(request, client); },
           [this](std::string_view method, std::string_view path) {
             return router_.takes_body(method, path);
           }}) {}

void Worker::reload(const Config& config) {
  assert(loop_.in_loop_thread());
  router_.reload(config);
  listener_.set_limits(fcgi_limits(config));
}

void Worker::stand_by() {
  assert(state_ == State::kAccepting && loop_.in_loop_thread());
  state_ = State::kStandby;
  listener_.stop_accepting();
}

void Worker::resume_accepting() {
  assert(loop_.in_loop_thread());
  if (state_ != State::kStandby) return;  // it already drains
  state_ = State::kAccepting;
  listener_.accept_again();
}

void Worker::drain(bool stop_accepting, std::function<void()> on_idle) {
  assert((state_ == State::kAccepting || state_ == State::kStandby) && loop_.in_loop_thread());
  state_ = State::kDraining;
  on_idle_ = std::move(on_idle);
  router_.stop_warm_ups();
  if (stop_accepting) listener_.stop_accepting();
  listener_.drain([this] { on_no_connections(); });
}

// Called again for each connection that arrives while the others drain.
void Worker::on_no_connections() {
  if (state_ == State::kIdle) return;
  assert(state_ == State::kDraining && loop_.in_loop_thread());
  state_ = State::kIdle;
  on_idle_();
}

void Worker::request_stop() {
  // The error events leave at the end of the iteration, and stop() takes effect in the next.
  loop_.post([this] {
    listener_.abort_exchanges();
    loop_.stop();
  });
}

WorkerThreads::~WorkerThreads() {
  if (!loops_run_) decided_.count_down();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerThreads::create() {
  for (size_t i = 1; i < workers_.size(); ++i) {
    threads_.emplace_back([this, &worker = *workers_[i]] {
      decided_.wait();
      if (loops_run_) worker.loop().run();
    });
  }
}

void WorkerThreads::run_loops() {
  assert(!loops_run_);
  loops_run_ = true;
  decided_.count_down();
  workers_.front()->loop().run();
}

}  // namespace bailian
