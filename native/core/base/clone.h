#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/base/fd.h"
#include "core/base/mapping.h"
#include "core/base/result.h"

namespace regroup {

inline constexpr uint64_t kCloneClearSighand = 0x100000000;  // CLONE_CLEAR_SIGHAND
inline constexpr uint64_t kCloneIntoCgroup = 0x200000000;    // CLONE_INTO_CGROUP, clone3 only
inline constexpr long kSysClone3 = 435;                      // both architectures
inline constexpr long kSysCloseRange = 436;

/// What a child runs on between clone and execve. One is enough for any number of children,
/// since the caller sleeps until each has exec'd.
class CloneStack {
 public:
  static constexpr size_t kBytes = 64 * 1024;

  static Result<CloneStack> map();

  std::byte* lowest() const { return memory_.data(); }

 private:
  explicit CloneStack(Mapping memory) : memory_(std::move(memory)) {}
  Mapping memory_;
};

enum class CloneCall : uint8_t { Clone3, Clone };

struct Cloned {
  pid_t pid = -1;  // -1: there's no child, because of:
  int error = 0;   // errno
  Fd pidfd;        // if CLONE_PIDFD was asked for, and understood: old kernels ignore the flag
};

/// A child on the parent's memory (CLONE_VM | CLONE_VFORK | `flags`), which runs `run(arg)` and
/// must leave it by execve or exit. Returns when it has. Costs the same whatever our size is.
/// `cgroup`: for CLONE_INTO_CGROUP, a descriptor of its folder.
/// All of this thread's signals should be blocked, or a handler may run in the child.
Cloned cloneChild(const CloneStack& stack, CloneCall call, uint64_t flags, int exitSignal,
                  void (*run)(void*), void* arg, int cgroup = -1);

}  // namespace regroup
