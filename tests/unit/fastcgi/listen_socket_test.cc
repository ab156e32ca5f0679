#include "fastcgi/listen_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <thread>

namespace bailian {
namespace {

class ListenSockets : public testing::Test {
 protected:
  ListenSockets() {
    char path[] = "/tmp/listen_socket_test.XXXXXX";
    folder_ = ::mkdtemp(path);
  }
  ~ListenSockets() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] ListenAddress address() const { return UnixAddress{path()}; }
  [[nodiscard]] std::string path() const { return folder_ + "/s"; }
  [[nodiscard]] std::string refusal() const {
    try {
      ListenSocket::open(address(), 0660);
    } catch (const ListenError& error) {
      return error.what();
    }
    return "";
  }
  // A socket file as a killed process leaves it behind.
  void leave_stale_socket() const {
    const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    path().copy(name.sun_path, sizeof name.sun_path - 1);
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
  }

  std::string folder_;
};

TEST_F(ListenSockets, HaveExactlyTheirMode) {
  const mode_t before = ::umask(0077);
  for (const mode_t mode : {0660U, 0600U, 0666U, 0777U}) {
    const auto socket = ListenSocket::open(address(), mode);
    struct stat status {};
    ASSERT_EQ(::stat(path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, mode);
  }
  EXPECT_EQ(::umask(before), 0077U) << "the process's own mask is as it was";
}

TEST_F(ListenSockets, AreRemovedWithTheirOwner) {
  { const auto socket = ListenSocket::open(address(), 0660); }
  EXPECT_FALSE(std::filesystem::exists(path()));
}

// In a separate process: the test requires a certain descriptor number and environment.
[[noreturn]] void take_over_and_end(int passed, bool serves) {
  ::dup2(passed, 3);
  ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  ::setenv("LISTEN_FDS", "1", 1);
  ::setenv("LISTEN_FDNAMES", "bailian-fcgi-own", 1);
  bool taken = false;
  {
    auto socket = ListenSocket::inherited();
    taken = socket.has_value();
    if (taken && serves) socket->take_ownership_of_file();
  }
  ::_exit(taken ? 0 : 1);
}

TEST_F(ListenSockets, AreRemovedByASuccessorOnlyWhenItServes) {
  const auto predecessor = ListenSocket::open(address(), 0660);
  EXPECT_EXIT(take_over_and_end(predecessor.fd(), false), testing::ExitedWithCode(0), "");
  EXPECT_TRUE(std::filesystem::exists(path()));
  EXPECT_EXIT(take_over_and_end(predecessor.fd(), true), testing::ExitedWithCode(0), "");
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(ListenSockets, OfASuccessorAreNotRemoved) {
  {
    const auto socket = ListenSocket::open(address(), 0660);
    std::filesystem::remove(path());
    leave_stale_socket();
  }
  EXPECT_TRUE(std::filesystem::exists(path()));
}

TEST_F(ListenSockets, ReplaceAStaleOne) {
  leave_stale_socket();
  EXPECT_EQ(refusal(), "");
}

TEST_F(ListenSockets, DoNotStealALiveOne) {
  const auto socket = ListenSocket::open(address(), 0660);
  EXPECT_NE(refusal().find("another process listens on it"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(path()));
}

TEST_F(ListenSockets, NeverReplaceWhatIsNoSocket) {
  std::ofstream(path()) << "precious";
  EXPECT_NE(refusal().find("not a socket"), std::string::npos);
  EXPECT_EQ(std::filesystem::file_size(path()), 8U);
}

TEST_F(ListenSockets, DoNotWaitForALockWithoutEnd) {
  const UniqueFd directory(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY));
  ASSERT_EQ(::flock(directory.get(), LOCK_EX), 0);
  const std::string text = refusal();
  EXPECT_NE(text.find("the directory " + folder_ + " is locked by process " + std::to_string(::getpid())),
            std::string::npos)
      << text;
  ASSERT_EQ(::flock(directory.get(), LOCK_UN), 0);
  EXPECT_EQ(refusal(), "");
}

TEST_F(ListenSockets, WaitForALockThatEnds) {
  UniqueFd directory(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY));
  ASSERT_EQ(::flock(directory.get(), LOCK_EX), 0);
  std::thread starter([&] { EXPECT_EQ(refusal(), ""); });
  std::this_thread::yield();
  directory = {};
  starter.join();
}

// In a separate process.
[[noreturn]] void print_name_and_end(int passed, bool by_systemd) {
  ::dup2(passed, by_systemd ? 3 : 0);
  ::unsetenv("LISTEN_FDNAMES");
  if (by_systemd) {
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", "1", 1);
  }
  const auto socket = ListenSocket::inherited();
  std::cerr << (socket ? socket->name() : "nothing") << (socket && socket->is_shared() ? ", shared" : "");
  ::_exit(0);
}

TEST_F(ListenSockets, ThatAreInheritedAreNamedByTheirAddress) {
  const auto local = ListenSocket::open(address(), 0660);
  const auto tcp = ListenSocket::open(TcpAddress{"127.0.0.1", 0}, 0);
  for (const bool by_systemd : {true, false}) {
    EXPECT_EXIT(print_name_and_end(local.fd(), by_systemd), testing::ExitedWithCode(0),
                "^" + path() + ", shared$");
    EXPECT_EXIT(print_name_and_end(tcp.fd(), by_systemd), testing::ExitedWithCode(0),
                "^127\\.0\\.0\\.1:[1-9][0-9]*, shared$");
  }
  const UniqueFd nameless(::socket(AF_UNIX, SOCK_STREAM, 0));
  const sockaddr any = {AF_UNIX, {}};  // no path: the kernel picks an abstract name
  ASSERT_EQ(::bind(nameless.get(), &any, sizeof any.sa_family), 0);
  ASSERT_EQ(::listen(nameless.get(), 1), 0);
  EXPECT_EXIT(print_name_and_end(nameless.get(), true), testing::ExitedWithCode(0),
              "^inherited descriptor 3, shared$");
}

TEST_F(ListenSockets, NameAFolderThatIsNotThere) {
  std::filesystem::remove(folder_);
  EXPECT_NE(refusal().find(folder_), std::string::npos);
}

TEST_F(ListenSockets, ListenOnTcpInBothFamilies) {
  for (const char* host : {"127.0.0.1", "::1"}) {
    const auto socket = ListenSocket::open(TcpAddress{host, 0}, 0);
    int listening = 0;
    socklen_t size = sizeof listening;
    ASSERT_EQ(::getsockopt(socket.fd(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &size), 0);
    EXPECT_EQ(listening, 1);
  }
}

}  // namespace
}  // namespace bailian
