#include "core/base/clone.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "core/base/raw.h"

namespace regroup {

namespace {

/// clone_args of linux/sched.h as of 5.7; kernels take any version that they know, and 5.3's has
/// no more than the first eight.
struct CloneArgs {
  uint64_t flags, pidfd, childTid, parentTid, exitSignal, stack, stackSize, tls;
  uint64_t setTid, setTidSize, cgroup;
};
constexpr size_t kFirstCloneArgs = 8 * sizeof(uint64_t);

}  // namespace

Result<CloneStack> CloneStack::map() {
  auto memory = Mapping::anonymous(kBytes, MAP_PRIVATE | MAP_STACK);
  if (!memory) return memory.error();
  return CloneStack(*std::move(memory));
}

Cloned cloneChild(const CloneStack& stack, CloneCall call, uint64_t flags, int exitSignal,
                  void (*run)(void*), void* arg, int cgroup) {
  flags |= CLONE_VM | CLONE_VFORK;
  int pidfd = -1;  // stays, where the kernel ignores CLONE_PIDFD
  long pid;
  if (call == CloneCall::Clone3) {
    CloneArgs args{};
    args.flags = flags;
    args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
    args.exitSignal = static_cast<uint64_t>(exitSignal);
    args.stack = reinterpret_cast<uint64_t>(stack.lowest());  // the lowest address, unlike clone
    args.stackSize = CloneStack::kBytes;
    const bool into = flags & kCloneIntoCgroup;
    if (into) args.cgroup = static_cast<uint64_t>(cgroup);
    pid = rawClone(kSysClone3, reinterpret_cast<long>(&args), into ? sizeof args : kFirstCloneArgs,
                   0, run, arg);
  } else {
    pid = rawClone(SYS_clone, static_cast<long>(flags) | exitSignal,
                   reinterpret_cast<long>(stack.lowest() + CloneStack::kBytes),
                   reinterpret_cast<long>(&pidfd), run, arg);
  }
  Cloned child;
  if (pid < 0) {
    // The kernel may have written a number before it failed, and has taken it back: by now it can
    // be another thread's.
    child.error = static_cast<int>(-pid);
    return child;
  }
  child.pid = static_cast<pid_t>(pid);
  child.pidfd = Fd(pidfd);
  return child;
}

}  // namespace regroup
