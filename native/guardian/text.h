#pragma once

#include <cstddef>
#include <cstdint>

/// Bytes and numbers without libc.
namespace guardian {

inline long pointer(const void* at) {
  return reinterpret_cast<long>(at);
}

inline bool equal(const char* a, const char* b, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

/// A number and what follows it; nothing moves where there's none.
inline const char* readNumber(const char* at, const char* end, uint64_t& number) {
  number = 0;
  for (; at < end && *at >= '0' && *at <= '9'; at++)
    number = number * 10 + static_cast<uint64_t>(*at - '0');
  return at;
}

}  // namespace guardian
