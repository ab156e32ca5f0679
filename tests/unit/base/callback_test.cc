#include "base/callback.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

namespace bailian {
namespace {

struct Listener {
  void on_text(std::string_view text) { heard += text; }
  void on_end() noexcept { heard += "."; }
  void take(std::unique_ptr<int> owned) { number = std::move(owned); }
  std::string heard;
  std::unique_ptr<int> number;
};

struct NamedListener : Listener {
  std::string name = "n";
};

using OnText = Callback<void(std::string_view)>;

static_assert(std::is_trivially_copyable_v<OnText> && sizeof(OnText) == 2 * sizeof(void*));

TEST(Callback, CallsTheMethodOfItsObject) {
  Listener first;
  Listener second;
  OnText on_text = bind<&Listener::on_text>(&first);
  on_text("a");
  on_text = bind<&Listener::on_text>(&second);
  on_text("b");
  EXPECT_EQ(first.heard, "a");
  EXPECT_EQ(second.heard, "b");
}

TEST(Callback, AMethodMayIgnoreTheArguments) {
  Listener listener;
  const OnText on_text = bind<&Listener::on_end>(&listener);
  on_text("ignored");
  EXPECT_EQ(listener.heard, ".");
}

TEST(Callback, CallsAMethodOfABase) {
  NamedListener listener;
  const OnText on_text = bind<&NamedListener::on_text>(&listener);
  on_text("a");
  EXPECT_EQ(listener.heard, "a");
  EXPECT_EQ(listener.name, "n");
}

TEST(Callback, PassesWhatCanOnlyBeMoved) {
  Listener listener;
  const Callback<void(std::unique_ptr<int>)> take = bind<&Listener::take>(&listener);
  take(std::make_unique<int>(7));
  ASSERT_TRUE(listener.number);
  EXPECT_EQ(*listener.number, 7);
}

TEST(Callback, IsFalseWhileItIsEmpty) {
  Listener listener;
  EXPECT_FALSE(OnText());
  EXPECT_TRUE(OnText(bind<&Listener::on_text>(&listener)));
}

}  // namespace
}  // namespace bailian
