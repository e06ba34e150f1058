#pragma once

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "test/native/support.h"

namespace support {

/// A folder of the freezer of cgroup v1. What's frozen in it sleeps in the kernel, deaf to SIGKILL,
/// like a process that waits for a dead disk. Thaws and removes itself.
class Freezer {
 public:
  explicit Freezer(const TempDir& folder) : root_(folder.file("freezer")) {
    (void)::mkdir(root_.c_str(), 0700);
    mounted_ = ::mount("cgroup", root_.c_str(), "cgroup", 0, "freezer") == 0;
    path_ = root_ + "/regroup-test-" + std::to_string(::getpid());
    made_ = mounted_ && ::mkdir(path_.c_str(), 0700) == 0;
  }
  ~Freezer() {
    thaw();
    if (made_) (void)::rmdir(path_.c_str());
    if (mounted_) (void)::umount2(root_.c_str(), MNT_DETACH);
    (void)::rmdir(root_.c_str());
  }

  explicit operator bool() const { return made_; }

  bool freeze(pid_t pid) {
    return write("cgroup.procs", std::to_string(pid)) && write("freezer.state", "FROZEN");
  }
  bool frozen() const {
    auto state = readFile((path_ + "/freezer.state").c_str(), 64);
    return state && *state == "FROZEN\n";
  }
  void thaw() {
    if (made_) (void)write("freezer.state", "THAWED");
  }

 private:
  bool write(const char* file, const std::string& text) const {
    Fd fd(::open((path_ + "/" + file).c_str(), O_WRONLY | O_CLOEXEC));
    return fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }

  std::string root_;
  std::string path_;
  bool mounted_ = false;
  bool made_ = false;
};

}  // namespace support
