#pragma once

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <functional>
#include <memory>

#include "core/base/features.h"
#include "core/shm/shm_reader.h"
#include "core/shm/shm_writer.h"
#include "test/native/support.h"

/// What the tests of shared memory have in common.
namespace shm_harness {

using namespace regroup;
using namespace regroup::shm;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr uint32_t kLongMs = 20'000;  // a wait that's longer is a bug

inline std::unique_ptr<Writer> makeWriter(size_t bytes = 16 << 20) {
  auto writer = Writer::create({.bytes = bytes});
  return writer ? std::move(*writer) : nullptr;
}

/// An answer, and the value with OK; its size with TOO_SMALL.
struct Got {
  int answer;
  std::string value;
  size_t bytes = 0;
  bool operator==(const Got& other) const { return answer == other.answer && value == other.value; }
};

class Reader {
 public:
  explicit Reader(int fd) { answer_ = ::regroup_shm_open(fd, &reader_); }
  explicit Reader(const Writer& writer) : Reader(writer.segment().fd().get()) {}
  Reader(const void* memory, size_t bytes) {
    answer_ = ::regroup_shm_attach(memory, bytes, &reader_);
  }
  Reader(const Reader&) = delete;
  ~Reader() { ::regroup_shm_close(reader_); }

  int answer() const { return answer_; }

  Got get(std::string_view key, size_t capacity = 64 << 10) {
    if (buffer_.size() < capacity) buffer_.resize(capacity);
    size_t bytes = 0;
    return got(::regroup_shm_get(reader_, key.data(), key.size(), buffer_.data(), capacity, &bytes),
               bytes);
  }
  Got wait(std::string_view key, uint32_t timeoutMs) {
    if (buffer_.size() < 4096) buffer_.resize(4096);
    size_t bytes = 0;
    return got(::regroup_shm_wait(reader_, key.data(), key.size(), buffer_.data(), buffer_.size(),
                                  &bytes, timeoutMs),
               bytes);
  }

 private:
  /// `bytes` by reference: the call that gives the answer fills it.
  Got got(int answer, const size_t& bytes) {
    return {answer, answer == REGROUP_SHM_OK ? buffer_.substr(0, bytes) : std::string(), bytes};
  }

  regroup_shm_reader* reader_ = nullptr;
  int answer_;
  std::string buffer_;
};

/// A value that tells whether it's whole: its number, then as many words made of it as the number
/// says. Few numbers give two of the same length.
inline std::string numbered(uint64_t number, size_t longest = 2000) {
  std::string value((1 + number * 7919 % (longest / 8)) * 8 + number % 8, '\0');
  for (size_t at = 0; at < value.size(); at += 8) {
    const uint64_t word = number ^ (at * 0x9e3779b97f4a7c15);
    ::memcpy(value.data() + at, &word, std::min<size_t>(8, value.size() - at));
  }
  return value;
}

inline bool isNumbered(const std::string& value, size_t longest = 2000) {
  uint64_t number;
  if (value.size() < sizeof number) return false;
  ::memcpy(&number, value.data(), sizeof number);
  return value == numbered(number, longest);
}

/// A forked process that runs `body` and exits with what it gives. It dies with us.
class Child {
 public:
  explicit Child(const std::function<int()>& body) {
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::_exit(::getppid() == parent ? body() : 99);
  }
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  ~Child() {
    if (pid_ > 0) (void)kill();
  }

  /// The exit code, or minus the signal.
  int wait() {
    int status = 0;
    (void)::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  bool ended() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid != 0;
  }
  int kill() {
    (void)::kill(pid_, SIGKILL);
    return wait();
  }

 private:
  pid_t pid_;
};

}  // namespace shm_harness
