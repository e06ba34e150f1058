#pragma once

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>

namespace regroup {

/// Who may sleep on a word: threads of any process that has mapped it, or ours only.
enum class FutexScope : int { AnyProcess = 0, OurProcess = FUTEX_PRIVATE_FLAG };

/// futex(2): wakes threads that sleep on a word of 32 bits, `sleepers` at most.
inline void futexWake(const void* word, FutexScope scope, int sleepers = INT_MAX) {
  (void)::syscall(SYS_futex, word, FUTEX_WAKE | static_cast<int>(scope), sleepers, nullptr, nullptr,
                  0);
}

/// futex(2): sleeps while the word has this value, until `deadline` of CLOCK_MONOTONIC at most;
/// null: for as long as it takes.
/// @returns 0 if it was woken, or errno: EAGAIN (it has another value), ETIMEDOUT, EINTR
inline int futexWait(const void* word, uint32_t value, FutexScope scope,
                     const timespec* deadline = nullptr) {
  const long woken = ::syscall(SYS_futex, word, FUTEX_WAIT_BITSET | static_cast<int>(scope), value,
                               deadline, nullptr, FUTEX_BITSET_MATCH_ANY);
  return woken == 0 ? 0 : errno;
}

}  // namespace regroup
