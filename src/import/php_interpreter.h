#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bailian {

struct PhpMember;

/// A value in a PHP file, as far as it can be known without running the file.
struct PhpValue {
  enum class Kind {
    kUnknown,
    kConstant,  // one that the file does not define, such as CURLOPT_URL
    kNull,
    kBool,
    kNumber,
    kString,
    kArray
  };
  Kind kind = Kind::kUnknown;
  int line = 0;      // where it begins
  std::string text;  // of a string: its bytes; a number: its digits; a constant: its name; an unknown: why
  bool truth = false;
  double number = 0;
  std::vector<PhpMember> members;  // of an array, in their order

  [[nodiscard]] bool is_string() const { return kind == Kind::kString; }
  [[nodiscard]] bool is_number() const { return kind == Kind::kNumber; }
  [[nodiscard]] bool is_array() const { return kind == Kind::kArray; }
  [[nodiscard]] bool is_known() const { return kind != Kind::kUnknown && kind != Kind::kConstant; }
  /// Why the value is not known; empty when it is known.
  [[nodiscard]] std::string why_unknown() const;
  /// The member of an array; nullptr when there is none.
  [[nodiscard]] const PhpValue* find(std::string_view key) const;
};

struct PhpMember {
  std::string key;  // empty for an item of a list
  PhpValue value;
};

/// Receives the contents of a file, in order. The views and references end with the call.
class PhpListener {
 public:
  virtual ~PhpListener() = default;
  /// A value gets a name: that of a variable, a property, a constant, or the key of an array's member.
  virtual void on_named(std::string_view name, const PhpValue& value) = 0;
  /// An array is complete: assigned, returned, or passed to a function.
  virtual void on_array(const PhpValue& array) = 0;
  /// A function or a method is called; `name` is in lower case, without its class.
  virtual void on_call(std::string_view name, const std::vector<PhpValue>& arguments, int line) = 0;
};

/// Follows assignments, constants, array literals, concatenations and a few functions that return their
/// argument, line by line, ignoring conditions. No code is run and no file is read. Time and memory are
/// bounded for any text. Throws PhpError.
void follow_php(std::string_view text, PhpListener& listener);

}  // namespace bailian
