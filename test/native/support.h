#pragma once

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "core/base/fd.h"
#include "core/base/proc.h"
#include "core/base/syscall.h"
#include "core/spawn/plan.h"

/// Helpers of the native tests, too small to be wrong.
namespace support {

using namespace regroup;

/// A wait that's longer than this is a bug; nothing waits for it to pass.
constexpr std::chrono::milliseconds kLong{20'000};

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/regroup-test-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TempDir() { (void)!::system(("rm -rf " + path_).c_str()); }
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline void writeFile(const std::string& path, const std::string& text, mode_t mode = 0644) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  (void)!::write(fd.get(), text.data(), text.size());
  (void)::fchmod(fd.get(), mode);
}

/// Reads lines from a pipe or a FIFO, and its end.
class LineReader {
 public:
  explicit LineReader(Fd fd) : fd_(std::move(fd)) {}

  /// The next line without its newline; empty when it takes too long or the writers are gone.
  std::string line() {
    size_t end;
    while ((end = buffer_.find('\n')) == std::string::npos) {
      if (!more()) return {};
    }
    std::string line = buffer_.substr(0, end);
    buffer_.erase(0, end + 1);
    return line;
  }

  /// Whether all who could write are gone, in time. What they wrote stays readable.
  bool ended() {
    while (more()) continue;
    return ended_;
  }

  std::string rest() {
    while (more()) continue;
    return std::exchange(buffer_, {});
  }

 private:
  bool more() {
    if (ended_ || !waitReadable(fd_, kLong)) return false;
    char bytes[4096];
    const ssize_t n = ::read(fd_.get(), bytes, sizeof bytes);
    if (n <= 0) return ended_ = n == 0, false;
    buffer_.append(bytes, static_cast<size_t>(n));
    return true;
  }

  Fd fd_;
  std::string buffer_;
  bool ended_ = false;
};

/// A FIFO that workers get as a file for their output: lines tell that they're ready, its end
/// tells that they and all that they left behind are gone.
class Witness {
 public:
  explicit Witness(const TempDir& folder, const std::string& name = "witness")
      : path_(folder.file(name)), reader_(open(path_)) {}

  const std::string& path() const { return path_; }
  LineReader& reader() { return reader_; }

 private:
  static Fd open(const std::string& path) {
    (void)::mkfifo(path.c_str(), 0600);
    Fd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    (void)::fcntl(fd.get(), F_SETFL, 0);  // blocking from now on
    return fd;
  }

  std::string path_;
  LineReader reader_;
};

inline Command fixture(std::vector<std::string> arguments, std::vector<std::string> env = {}) {
  Command command;
  command.file = REGROUP_FIXTURE;
  command.argv = {"fixture"};
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  command.env = std::move(env);
  return command;
}

/// One letter; '?' if there's no such process.
inline char stateOf(pid_t pid) {
  return statusOf(pid).value_or(ProcessStatus{}).state;
}

inline size_t openDescriptors() {
  size_t count = 0;
  for (int fd = 0; fd < 4096; fd++) count += isOpen(fd);
  return count;
}

}  // namespace support
