#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "test/native/support.h"

namespace support {

/// A mounted file system that leaves some requests unanswered: see test/fixtures/dead_disk.py. When
/// it goes, whoever waits for it is released.
class DeadDisk {
 public:
  /// @param what `flush`, `read` or `lookup`
  /// @param more `soft`: a signal releases who waits
  DeadDisk(const TempDir& folder, const char* what, const char* more = nullptr)
      : path_(folder.file("disk")) {
    auto input = makePipe();
    auto output = makePipe();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(input->read.get(), 0);
      ::dup2(output->write.get(), 1);
      ::execlp("python3", "python3", REGROUP_TEST_DIR "/fixtures/dead_disk.py", path_.c_str(), what,
               more, nullptr);
      ::_exit(1);
    }
    hold_ = std::move(input->write);
    output->write.reset();
    reader_ = std::make_unique<LineReader>(std::move(output->read));
    mounted_ = reader_->line() == "mounted";
  }
  ~DeadDisk() {
    hold_.reset();
    reap(pid_);
    for (const pid_t pid : sick_) {
      (void)::kill(pid, SIGKILL);
      reap(pid);
    }
  }
  DeadDisk(const DeadDisk&) = delete;
  DeadDisk& operator=(const DeadDisk&) = delete;

  /// Whether it could be had: it takes root, /dev/fuse and python3.
  explicit operator bool() const { return mounted_; }
  std::string file() const { return path_ + "/file"; }
  const std::string& path() const { return path_; }
  /// Waits until somebody has asked what it doesn't answer.
  bool asked() { return reader_->line().starts_with("asked "); }

  enum class Session : uint8_t { Own, Ours };
  /// A process in the middle of an execve that doesn't get on: whoever reads its environment waits
  /// for it. Goes with the disk. 0: it couldn't be had
  pid_t sickProcess(Session session = Session::Own) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      if (session == Session::Own) ::setsid();
      hold_.reset();  // or the disk would wait for this one, which waits for the disk
      (void)!::open(file().c_str(), O_RDONLY | O_CLOEXEC);
      char* const arguments[] = {const_cast<char*>("sleep"), const_cast<char*>("1000"), nullptr};
      char* const none[] = {nullptr};
      ::execve("/bin/sleep", arguments, none);
      ::_exit(1);
    }
    sick_.push_back(pid);
    return asked() ? pid : 0;
  }

  static constexpr const char* kNeeds = "needs root, /dev/fuse and python3";

 private:
  static void reap(pid_t pid) {
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;
  }

  std::string path_;
  Fd hold_;  // its stdin: it goes when that ends
  std::unique_ptr<LineReader> reader_;
  pid_t pid_ = 0;
  std::vector<pid_t> sick_;
  bool mounted_ = false;
};

}  // namespace support
