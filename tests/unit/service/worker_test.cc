#include "service/worker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <string>

#include "fastcgi/listen_socket.h"

namespace bailian {
namespace {

class WorkerTest : public testing::Test {
 protected:
  ~WorkerTest() override { std::filesystem::remove_all(directory_); }
  static std::string make_directory() {
    std::string path = testing::TempDir() + "worker.XXXXXX";
    return ::mkdtemp(path.data());
  }
  std::unique_ptr<Worker> make_worker() {
    return std::make_unique<Worker>(config_, state_, connections_, socket_.fd());
  }

  const std::string directory_ = make_directory();
  ListenSocket socket_ = ListenSocket::open(UnixAddress{directory_ + "/socket"}, 0600);
  const Config config_ = load_config({}, "/dev/null").config;
  ServiceState state_{config_};
  ConnectionCount connections_{100};
};

TEST_F(WorkerTest, StandsByResumesAndDrainsOnce) {
  const auto worker = make_worker();
  EXPECT_EQ(worker->state(), Worker::State::kAccepting);
  worker->stand_by();
  EXPECT_EQ(worker->state(), Worker::State::kStandby);
  worker->resume_accepting();
  EXPECT_EQ(worker->state(), Worker::State::kAccepting);
  int idle = 0;
  worker->drain(true, [&] { ++idle; });
  EXPECT_EQ(worker->state(), Worker::State::kIdle) << "it has no connection";
  EXPECT_EQ(idle, 1);
  worker->resume_accepting();
  EXPECT_EQ(worker->state(), Worker::State::kIdle);
}

TEST_F(WorkerTest, ThreadsRunNoLoopUnlessAllAreToRun) {
  WorkerThreads::Workers workers;
  for (int i = 0; i < 3; ++i) workers.push_back(make_worker());
  std::atomic<int> tasks{0};
  for (const auto& worker : workers) worker->loop().post([&] { ++tasks; });
  {
    WorkerThreads threads(workers);
    threads.create();
  }
  EXPECT_EQ(tasks, 0);
  for (const auto& worker : workers) worker->request_stop();
  {
    WorkerThreads threads(workers);
    threads.create();
    threads.run_loops();
  }
  EXPECT_EQ(tasks, 3);
}

}  // namespace
}  // namespace bailian
