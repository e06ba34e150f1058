// Who has a GPU's device file open. The files are the test's own.
#include "core/gpu/holders.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>

#include "test/native/dead_disk.h"
#include "test/native/support.h"
#include "test/native/tap.h"

using namespace regroup;
using namespace support;

namespace {

/// A process that holds `files` until it's killed.
class Holder {
 public:
  Holder(const TempDir& folder, const std::vector<std::string>& files, uid_t user = ::getuid()) {
    auto pipe = makePipe();
    pid_ = ::fork();
    if (pid_ == 0) {
      for (const auto& name : files)
        (void)!::open(folder.file(name).c_str(), O_RDWR | O_CREAT, 0600);
      if (user != ::getuid() && ::setuid(user) < 0) ::_exit(1);
      (void)!::write(pipe->write.get(), "r", 1);
      for (;;) ::pause();
    }
    pipe->write.reset();  // one that ends before is seen
    char ready;
    (void)!::read(pipe->read.get(), &ready, 1);
  }
  ~Holder() { end(); }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
    pid_ = 0;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
};

const DeviceHolder* find(const DeviceHolders& found, pid_t pid) {
  for (const DeviceHolder& each : found.holders) {
    if (each.pid == pid) return &each;
  }
  return nullptr;
}

}  // namespace

TEST("GPUs' own device files are told from those that are only asked") {
  for (const char* name : {"nvidia0", "nvidia15", "kfd", "dri/renderD128"})
    CHECK(isGpuDevice(name));
  for (const char* name : {"nvidiactl", "nvidia-uvm", "nvidia", "nvidia0x", "kfd0", "dri/card0",
                           "dri/renderD", "null", "", "nvidia0 (deleted)"})
    CHECK(!isGpuDevice(name));
}

TEST("pain 27: who holds a device is found, with each device once, until it's gone") {
  TempDir folder;
  (void)::mkdir(folder.file("dri").c_str(), 0700);
  Holder one(folder, {"nvidia1", "nvidia0", "nvidia1", "nvidiactl", "dri/renderD128"});
  Holder other(folder, {"null"});

  const DeviceHolders found = findDeviceHolders(folder.path(), kLong);
  const pid_t pid = one.pid();
  one.end();
  const DeviceHolders after = findDeviceHolders(folder.path(), kLong);

  CHECK_EQ(found.holders.size(), 1u);
  const DeviceHolder* holder = find(found, pid);
  REQUIRE(holder != nullptr);
  auto devices = holder->devices;
  std::sort(devices.begin(), devices.end());
  CHECK(devices == (std::vector<std::string>{"dri/renderD128", "nvidia0", "nvidia1"}));
  CHECK(after.holders.empty());
}

TEST("our own open devices aren't somebody's who is in the way") {
  TempDir folder;
  Fd own(::open(folder.file("nvidia0").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));

  CHECK(findDeviceHolders(folder.path(), kLong).holders.empty());
}

TEST("a device below another folder, or of another folder with the same beginning, isn't ours") {
  TempDir folder;
  const std::string beside = folder.file("a");
  (void)::mkdir(beside.c_str(), 0700);
  (void)::mkdir((beside + "b").c_str(), 0700);
  Holder holder(folder, {"ab/nvidia0"});

  CHECK(findDeviceHolders(beside, kLong).holders.empty());
  CHECK_EQ(findDeviceHolders(beside + "b", kLong).holders.size(), 1u);
}

TEST("F-N17 a process that hangs is left away, and a holder beside it is found") {
  TempDir folder;
  DeadDisk disk(folder, "flush");
  if (!disk) return tap::skip(DeadDisk::kNeeds);
  Holder before(folder, {"nvidia0"});
  REQUIRE(disk.sickProcess() > 0);
  Holder after(folder, {"nvidia1"});

  // Twice: nobody hangs there again.
  for (int i = 0; i < 2; i++) {
    const DeviceHolders found = findDeviceHolders(folder.path(), kLong);
    CHECK(find(found, before.pid()) != nullptr);
    CHECK(find(found, after.pid()) != nullptr);
  }
}

TEST("without time nobody is found") {
  TempDir folder;
  Holder holder(folder, {"nvidia0"});

  CHECK(findDeviceHolders(folder.path(), std::chrono::milliseconds(0)).holders.empty());
}

TEST("processes whose files may not be seen are told as such") {
  if (::getuid() != 0) return tap::skip("needs root, to be somebody else");
  TempDir folder;
  Holder holder(folder, {"nvidia0"});
  auto pipe = makePipe();
  const pid_t pid = ::fork();
  if (pid == 0) {
    const bool changed = ::setgid(65534) == 0 && ::setuid(65534) == 0;
    const DeviceHolders found = findDeviceHolders(folder.path(), kLong);
    const auto& unread = found.unread;
    const bool right = changed && found.holders.empty() &&
                       std::find(unread.begin(), unread.end(), holder.pid()) != unread.end();
    (void)!::write(pipe->write.get(), right ? "y" : "n", 1);
    ::_exit(0);
  }
  pipe->write.reset();  // as above
  char answer = 0;
  (void)!::read(pipe->read.get(), &answer, 1);
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;

  CHECK_EQ(answer, 'y');
}

TAP_MAIN
