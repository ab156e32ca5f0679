#include "service/service_manager.h"

#include <gtest/gtest.h>

#include <system_error>

#include "unit/service/notify_socket.h"

namespace bailian {
namespace {

TEST(ServiceManager, IsAbsentWithoutASocket) {
  ServiceManager manager;
  EXPECT_FALSE(manager.present());
  EXPECT_FALSE(manager.watchdog());
  manager.notify_ready();
  manager.notify_status("nobody reads this");
}

TEST(ServiceManager, IsNotifiedUntilMuted) {
  const NotifySocket socket("2000000");
  ServiceManager manager;
  EXPECT_TRUE(manager.present());
  EXPECT_EQ(manager.watchdog(), std::chrono::seconds(2));
  manager.notify_ready();
  EXPECT_EQ(socket.next(), "READY=1");
  manager.notify_reloading();
  EXPECT_TRUE(socket.next().value_or("").starts_with("RELOADING=1\nMONOTONIC_USEC="));
  manager.notify_watchdog();
  EXPECT_EQ(socket.next(), "WATCHDOG=1");
  manager.notify_stopping();
  EXPECT_EQ(socket.next(), "STOPPING=1");
  manager.mute();
  manager.notify_watchdog();
  EXPECT_EQ(socket.next(), std::nullopt);
}

TEST(ServiceManager, GetsAStatusOnceAndOnOneLine) {
  const NotifySocket socket;
  ServiceManager manager;
  manager.notify_status("1 streams");
  EXPECT_EQ(socket.next(), "STATUS=1 streams");
  manager.notify_status("1 streams");
  EXPECT_EQ(socket.next(), std::nullopt);
  manager.notify_status("a fault:\nMAINPID=1\x7f");
  EXPECT_EQ(socket.next(), "STATUS=a fault: MAINPID=1 ");
  manager.notify_status("设置\xff");
  EXPECT_EQ(socket.next(), "STATUS=设置?");
}

TEST(ServiceManager, CutsALongStatusBetweenTwoCharacters) {
  const NotifySocket socket;
  ServiceManager manager;
  std::string text;
  for (int i = 0; i < 200; ++i) text += "设";
  manager.notify_status(text);
  EXPECT_EQ(socket.next(), "STATUS=" + text.substr(0, 399));
}

TEST(ServiceManager, APredecessorGetsReadyOnly) {
  ::setenv("NOTIFY_SOCKET", "@bailian-fcgi-upgrade-that-is-gone", 1);
  ServiceManager manager;
  ::unsetenv("NOTIFY_SOCKET");
  EXPECT_FALSE(manager.present());
  ::setenv("NOTIFY_SOCKET", "@bailian-fcgi-upgrade-that-is-gone", 1);
  EXPECT_THROW(manager.notify_ready(), std::system_error) << "it will never know";
  ::unsetenv("NOTIFY_SOCKET");
}

}  // namespace
}  // namespace bailian
