#include "core/store/counter.h"

namespace regroup::store {

namespace {

/// Nobody's number is longer. Blanks and zeros have no end, and would be read at each ADD.
constexpr size_t kLongestText = 4096;

}  // namespace

std::optional<int64_t> parseCounter(std::string_view text) {
  text = text.substr(0, kLongestText);
  size_t i = 0;
  while (i < text.size() && (text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r'))) i++;
  bool negative = false;
  if (i < text.size() && (text[i] == '-' || text[i] == '+')) negative = text[i++] == '-';
  const size_t firstDigit = i;
  // Kept negative, since INT64_MIN has no positive counterpart.
  int64_t value = 0;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; i++) {
    if (__builtin_mul_overflow(value, 10, &value)) return std::nullopt;
    if (__builtin_sub_overflow(value, text[i] - '0', &value)) return std::nullopt;
  }
  if (i == firstDigit) return std::nullopt;
  if (!negative && __builtin_sub_overflow(0, value, &value)) return std::nullopt;
  return value;
}

}  // namespace regroup::store
