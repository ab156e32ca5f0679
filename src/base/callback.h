#pragma once

#include <type_traits>
#include <utility>

namespace bailian {

template <typename Signature>
class Callback;

/// A member function and the object to call it on: made by bind(), taken by a Callback.
template <auto kMethod, typename Object>
struct BoundMethod {
  Object* object;
};

/// `bind<&Chat::beat>(this)`.
template <auto kMethod, typename Object>
constexpr BoundMethod<kMethod, Object> bind(Object* object) {
  return {object};
}

/// Calls one member function of one object. The object is not owned and must outlive the callback. Two
/// pointers: trivial to copy, never allocates. The function may ignore the arguments by taking none.
template <typename... Args>
class Callback<void(Args...)> {
 public:
  constexpr Callback() = default;
  template <auto kMethod, typename Object>
  constexpr Callback(BoundMethod<kMethod, Object> bound)  // NOLINT(google-explicit-constructor)
      : object_(bound.object), function_(&call<kMethod, Object>) {}

  void operator()(Args... args) const { function_(object_, std::forward<Args>(args)...); }
  explicit operator bool() const { return function_ != nullptr; }

 private:
  template <auto kMethod, typename Object>
  static void call(void* object, Args... args) {
    if constexpr (std::is_invocable_v<decltype(kMethod), Object&, Args...>) {
      (static_cast<Object*>(object)->*kMethod)(std::forward<Args>(args)...);
    } else {
      (static_cast<Object*>(object)->*kMethod)();
    }
  }

  void* object_ = nullptr;
  void (*function_)(void*, Args...) = nullptr;
};

}  // namespace bailian
