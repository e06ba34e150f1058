#pragma once

#include <stddef.h>

/// What <string.h> would give, in libraries that have no C library.
namespace regroup {

inline size_t lengthOf(const char* text) {
  size_t length = 0;
  while (text[length] != '\0') length++;
  return length;
}

inline bool isEqual(const char* a, const char* b, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

/// A number and what ends it; -1 if there's none. `text` is behind its end then.
inline long parseNumber(const char*& text, char end) {
  constexpr long kMaxDigits = 18;
  long number = 0;
  const char* at = text;
  for (; *at >= '0' && *at <= '9'; at++) {
    if (at - text >= kMaxDigits) return -1;
    number = number * 10 + (*at - '0');
  }
  if (at == text || *at != end) return -1;
  text = at + 1;
  return number;
}

inline void append(char*& to, const char* text) {
  while (*text != '\0') *to++ = *text++;
  *to = '\0';
}
inline void append(char*& to, long number) {
  char digits[24];
  int count = 0;
  do digits[count++] = static_cast<char>('0' + number % 10);
  while ((number /= 10) > 0);
  while (count > 0) *to++ = digits[--count];
  *to = '\0';
}

}  // namespace regroup
