#pragma once

#include <time.h>

#include "core/base/futex.h"
#include "core/shm/layout.h"

/// Sleeping and waking across processes: never FUTEX_PRIVATE, never std::atomic's own wait.
namespace regroup::shm {

inline void futexWakeAll(const Word32& word) {
  futexWake(&word, FutexScope::AnyProcess);
}

/// Sleeps while the word has this value, until `deadline` of CLOCK_MONOTONIC at most.
/// @returns 0, or errno: EAGAIN, ETIMEDOUT, EINTR
inline int futexWait(const Word32& word, uint32_t value, const timespec& deadline) {
  return regroup::futexWait(&word, value, FutexScope::AnyProcess, &deadline);
}

/// One turn of a spin, for the other hardware thread's sake.
inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}

inline timespec monotonicIn(uint32_t ms) {
  timespec time;
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  time.tv_sec += ms / 1000;
  time.tv_nsec += static_cast<long>(ms % 1000) * 1'000'000;
  if (time.tv_nsec >= 1'000'000'000) time.tv_sec++, time.tv_nsec -= 1'000'000'000;
  return time;
}

inline bool isPast(const timespec& deadline) {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec > deadline.tv_sec ||
         (now.tv_sec == deadline.tv_sec && now.tv_nsec >= deadline.tv_nsec);
}

}  // namespace regroup::shm
