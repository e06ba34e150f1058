#pragma once

#include <charconv>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>

/// The numbers that ADD and BARRIER keep as text.
namespace regroup::store {

/// As C's strtoll does in base 10, which is what stock servers call: blanks, a sign, digits, and
/// whatever follows. Nothing where there are no digits, or too many.
std::optional<int64_t> parseCounter(std::string_view text);

/// The least decimal text.
struct CounterText {
  explicit CounterText(int64_t value) : end(std::to_chars(digits, std::end(digits), value).ptr) {}
  operator std::string_view() const { return {digits, static_cast<size_t>(end - digits)}; }
  char digits[20];
  char* end;
};

}  // namespace regroup::store
