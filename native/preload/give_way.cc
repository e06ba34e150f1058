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
}

namespace regroup {
namespace {

/// From one look to the next: whoever joins us waits so long at most.
constexpr long kFirstPauseNs = 1'000'000;
constexpr long kLongestPauseNs = 16'000'000;

constexpr char kTasks[] = "/proc/self/task";

/// What a thread waits for.
struct Wait {
  uintptr_t word;
  uint32_t value;
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
/// Plain, recursive, error checking, adaptive. Robust ones and those with priorities have lists.
constexpr int32_t kLastPlainKind = 3;
constexpr int32_t kKindMask = 0x7f;  // the rest is about elision

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

/// Reads a number, and leaves `at` behind it. @param base 10 or 16
uint64_t numberAt(const char*& at, unsigned base) {
  uint64_t number = 0;
  for (;; at++) {
    unsigned digit;
    if (*at >= '0' && *at <= '9')
      digit = static_cast<unsigned>(*at - '0');
    else if (*at >= 'a' && *at <= 'f')
      digit = static_cast<unsigned>(*at - 'a') + 10;
    else
      return number;
    if (digit >= base) return number;
    number = number * base + digit;
  }
}

/// Of `NUMBER 0xA 0xB 0xC …`, as the kernel tells a system call: a wait on a futex, if it is one.
/// Source: Linux, fs/proc/base.c, proc_pid_syscall
bool waitOf(const char* text, Wait& wait) {
  const char* at = text;
  if (*at < '0' || *at > '9' || numberAt(at, 10) != SYS_futex) return false;
  uint64_t given[3] = {};
  for (uint64_t& each : given) {
    if (!isEqual(at, " 0x", 3)) return false;
    at += 3;
    each = numberAt(at, 16);
  }
  const uint64_t call = given[1] & FUTEX_CMD_MASK;
  if (call != FUTEX_WAIT && call != FUTEX_WAIT_BITSET) return false;
  wait = {static_cast<uintptr_t>(given[0]), static_cast<uint32_t>(given[2])};
  return true;
}

/// @param name of a thread's folder
bool waitOfTask(const char* name, Wait& wait) {
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
  const File file(path, O_RDONLY);
  char text[256];
  const long size = file.isOpen() ? file.read(text, sizeof text - 1) : -1;
  if (size <= 0) return false;
  text[size] = '\0';
  return waitOf(text, wait);
}

enum class Next { kWait, kEnd };

/// Sees to one that waits. Reads by the kernel: it may have gone on, and given its memory back.
Next seeTo(const Wait& wait, int32_t self, const File& memory) {
  Mutex mutex;
  const long size = memory.readAt(wait.word, &mutex, sizeof mutex);
  if (size == sizeof mutex && mutex.lock != 0 && mutex.owner == self) {
    if ((mutex.kind & kKindMask) <= kLastPlainKind)
      (void)pthread_mutex_unlock(reinterpret_cast<pthread_mutex_t*>(wait.word));
    return Next::kWait;
  }
  // As pthread_join waits: for the kernel to clear our number.
  const bool joins = size >= static_cast<long>(sizeof mutex.lock) && mutex.lock == self &&
                     wait.value == static_cast<uint32_t>(self);
  return joins ? Next::kEnd : Next::kWait;
}

struct Entry {
  uint64_t inode;
  int64_t offset;
  uint16_t size;
  uint8_t type;
  char name[];
};

/// Looks at each thread once.
Next lookAround(int32_t self, const File& memory) {
  const File tasks(kTasks, O_RDONLY | O_DIRECTORY);
  alignas(Entry) char entries[2048];
  while (true) {
    const long size = tasks.isOpen() ? tasks.entries(entries, sizeof entries) : -1;
    if (size < 0) return Next::kEnd;
    if (size == 0) return Next::kWait;
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const Entry*>(entries + at);
      at += entry->size;
      Wait wait;
      if (entry->name[0] == '.' || !waitOfTask(entry->name, wait)) continue;
      if (seeTo(wait, self, memory) == Next::kEnd) return Next::kEnd;
    }
  }
}

/// Whether the kernel shows system calls: it does of our own, which is the read itself.
bool showsCalls() {
  const File own("/proc/thread-self/syscall", O_RDONLY);
  char text[16];
  return own.isOpen() && own.read(text, sizeof text) > 0;
}

void pause(long ns) {
  timespec time{0, ns};
  // For a signal, it looks a little sooner.
  rawCall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, reinterpret_cast<long>(&time), 0);
}

}  // namespace

void giveWayAndEnd() {
  const auto self = static_cast<int32_t>(rawCall(SYS_gettid));
  {
    const File memory("/proc/self/mem", O_RDONLY);
    const bool sees = memory.isOpen() && &pthread_mutex_unlock != nullptr && showsCalls();
    long ns = kFirstPauseNs;
    while (sees && lookAround(self, memory) == Next::kWait) {
      pause(ns);
      if (ns < kLongestPauseNs) ns *= 2;
    }
  }
  endThread();
}

void endThread() {
  while (true) rawCall(SYS_exit, 0);
}

}  // namespace regroup
