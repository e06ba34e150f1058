#include "preload/give_way.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

#include "core/base/raw.h"
#include "preload/text.h"

extern "C" {
#pragma weak pthread_mutex_unlock
#pragma weak pthread_self
}

namespace regroup {
namespace {

/// From one look to the next: whoever joins us waits so long at most.
constexpr long kFirstPauseNs = 1'000'000;
constexpr long kLastPauseNs = 16'000'000;
/// Where a look takes long, among hundreds of threads: a small share of one processor for all
/// looks.
constexpr long kPauseShare = 32;
constexpr long kLongestPauseNs = 250'000'000;

/// More than what the C library has of a thread, which begins where pthread_self() points.
constexpr uintptr_t kThreadBytes = 4096;

constexpr char kTasks[] = "/proc/self/task";

/// What a thread waits for.
struct Wait {
  uintptr_t word;
  uint32_t value;
  bool inherits;  // for a mutex that passes priorities on
};

/// glibc's mutex, as far as it's the same on both architectures since 2.2.
/// Source: glibc 2.36, sysdeps/nptl/bits/struct_mutex.h; nptl/pthreadP.h, PTHREAD_MUTEX_*_NP
struct Mutex {
  int32_t lock;
  uint32_t count;
  int32_t owner;
  uint32_t users;
  int32_t kind;
};
/// Plain, recursive, error checking, adaptive. Robust ones, and those that pass priorities on, the
/// kernel passes on when their thread ends.
constexpr int32_t kLastPlainKind = 3;
constexpr int32_t kKindMask = 0x7f;
/// Robust ones from here on, and those with priorities.
constexpr int32_t kRobustKind = 0x10;
/// What a plain one is waited for with, and holds meanwhile.
constexpr int32_t kLockedWithWaiters = 2;

constexpr uint64_t kFutexLockPi2 = 13;  // 5.14

/// Closes itself.
class File {
 public:
  File(const char* path, int flags)
      : fd_(rawCall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), flags | O_CLOEXEC)) {}
  ~File() {
    if (isOpen()) rawCall(SYS_close, fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  [[nodiscard]] bool isOpen() const { return fd_ >= 0; }
  /// Of one that isn't open, below 0.
  [[nodiscard]] long error() const { return fd_; }
  /// @returns bytes; below 0 it failed
  [[nodiscard]] long read(void* to, size_t size) const {
    return rawCall(SYS_read, fd_, reinterpret_cast<long>(to), static_cast<long>(size));
  }
  [[nodiscard]] long readAt(uintptr_t place, void* to, size_t size) const {
    return rawCall(SYS_pread64, fd_, reinterpret_cast<long>(to), static_cast<long>(size),
                   static_cast<long>(place));
  }
  /// @returns bytes of entries; below 0 it failed
  [[nodiscard]] long entries(void* to, size_t size) const {
    return rawCall(SYS_getdents64, fd_, reinterpret_cast<long>(to), static_cast<long>(size));
  }

 private:
  long fd_;
};

/// Reads a number behind its 0x, and leaves `at` behind it.
uint64_t hexAt(const char*& at) {
  uint64_t number = 0;
  for (;; at++) {
    if (*at >= '0' && *at <= '9')
      number = number * 16 + static_cast<uint64_t>(*at - '0');
    else if (*at >= 'a' && *at <= 'f')
      number = number * 16 + static_cast<uint64_t>(*at - 'a') + 10;
    else
      return number;
  }
}

/// Of `NUMBER 0xA 0xB 0xC …`, as the kernel tells a system call: a wait on a futex, if it is one.
/// Source: Linux, fs/proc/base.c, proc_pid_syscall
bool waitOf(const char* text, Wait& wait) {
  const char* at = text;
  if (parseNumber(at, ' ') != SYS_futex) return false;
  uint64_t given[3] = {};
  for (uint64_t& each : given) {
    if (!isEqual(at, "0x", 2)) return false;
    at += 2;
    each = hexAt(at);
    if (*at++ != ' ') return false;
  }
  const uint64_t call = given[1] & FUTEX_CMD_MASK;
  const bool inherits = call == FUTEX_LOCK_PI || call == kFutexLockPi2;
  if (call != FUTEX_WAIT && call != FUTEX_WAIT_BITSET && !inherits) return false;
  wait = {static_cast<uintptr_t>(given[0]), static_cast<uint32_t>(given[2]), inherits};
  return true;
}

enum class Seen { Nothing, Unlocked, Over };

/// What a thread of ours waits for. @param name of its folder
/// @returns Over: the kernel doesn't show it; Nothing: `wait` says it, and null is for no wait
Seen waitOfTask(const char* name, Wait& wait) {
  wait = {};
  char path[sizeof kTasks + 32];
  size_t length = 0;
  const auto add = [&](const char* text) {
    for (; *text != '\0' && length < sizeof path - 1; text++) path[length++] = *text;
  };
  add(kTasks);
  add("/");
  add(name);
  add("/syscall");
  path[length] = '\0';
  const auto failed = [](long error) {
    return error == -ENOENT || error == -ESRCH ? Seen::Nothing : Seen::Over;
  };
  const File file(path, O_RDONLY);
  if (!file.isOpen()) return failed(file.error());
  char text[256];
  const long size = file.read(text, sizeof text - 1);
  if (size < 0) return failed(size);
  text[size] = '\0';
  if (!waitOf(text, wait)) wait = {};
  return Seen::Nothing;
}

/// Sees to one that waits. Reads by the kernel: it may have gone on, and given its memory back.
Seen seeTo(const Wait& wait, int32_t self, uintptr_t thread, const File& memory) {
  Mutex mutex;
  const long size = memory.readAt(wait.word, &mutex, sizeof mutex);
  if (size < static_cast<long>(sizeof mutex.lock)) return Seen::Nothing;
  if (wait.inherits) return (mutex.lock & FUTEX_TID_MASK) == self ? Seen::Over : Seen::Nothing;
  // As pthread_join waits: for the kernel to clear our number, in what the C library has of us.
  const bool isOfUs = thread == 0 || wait.word - thread < kThreadBytes;
  if (isOfUs && mutex.lock == self && wait.value == static_cast<uint32_t>(self)) return Seen::Over;
  if (size < static_cast<long>(sizeof mutex) || mutex.owner != self) return Seen::Nothing;
  const int32_t kind = mutex.kind & kKindMask;
  if (kind >= kRobustKind && mutex.lock != 0) return Seen::Over;
  const bool isWaitedFor =
      mutex.lock == kLockedWithWaiters && wait.value == uint32_t{kLockedWithWaiters};
  if (kind > kLastPlainKind || !isWaitedFor) return Seen::Nothing;
  (void)pthread_mutex_unlock(reinterpret_cast<pthread_mutex_t*>(wait.word));
  return Seen::Unlocked;
}

struct Entry {
  uint64_t inode;
  int64_t offset;
  uint16_t size;
  uint8_t type;
  char name[];
};

/// Looks at each thread once. @returns Over: nothing is left for us to do
Seen lookAround(int32_t self, uintptr_t thread) {
  const File memory("/proc/self/mem", O_RDONLY);
  const File tasks(kTasks, O_RDONLY | O_DIRECTORY);
  if (!memory.isOpen() || !tasks.isOpen()) return Seen::Over;
  alignas(Entry) char entries[2048];
  Seen all = Seen::Nothing;
  while (true) {
    const long size = tasks.entries(entries, sizeof entries);
    if (size < 0) return Seen::Over;
    if (size == 0) return all;
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const Entry*>(entries + at);
      at += entry->size;
      if (entry->name[0] == '.') continue;
      Wait wait;
      Seen seen = waitOfTask(entry->name, wait);
      if (wait.word != 0) seen = seeTo(wait, self, thread, memory);
      // Who joins us may be seen before one that waits for our lock: that's the joiner's next.
      if (all != Seen::Unlocked && seen != Seen::Nothing) all = seen;
    }
  }
}

/// Whether the kernel shows system calls: it does of our own, which is the read itself.
bool showsCalls() {
  const File own("/proc/thread-self/syscall", O_RDONLY);
  char text[16];
  return own.isOpen() && own.read(text, sizeof text) > 0;
}

long nowNs() {
  timespec time{};
  rawCall(SYS_clock_gettime, CLOCK_MONOTONIC, reinterpret_cast<long>(&time));
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

void pause(long ns) {
  timespec time{0, ns};
  // For a signal, it looks a little sooner.
  rawCall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, reinterpret_cast<long>(&time), 0);
}

}  // namespace

void giveWayAndEnd() {
  const auto self = static_cast<int32_t>(rawCall(SYS_gettid));
  const uintptr_t thread =
      &pthread_self == nullptr ? 0 : reinterpret_cast<uintptr_t>(pthread_self());
  const bool sees = &pthread_mutex_unlock != nullptr && showsCalls();
  long ns = kFirstPauseNs;
  while (sees) {
    const long beganNs = nowNs();
    if (lookAround(self, thread) == Seen::Over) break;
    const long costly = (nowNs() - beganNs) * kPauseShare;
    const long pauseNs = costly > ns ? costly : ns;
    pause(pauseNs < kLongestPauseNs ? pauseNs : kLongestPauseNs);
    if (ns < kLastPauseNs) ns *= 2;
  }
  endThread();
}

void endThread() {
  while (true) rawCall(SYS_exit, 0);
}

}  // namespace regroup
