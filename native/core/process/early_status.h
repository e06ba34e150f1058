#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/base/syscall.h"

namespace regroup {

/// What a /proc/…/stat tells of a thread's end.
struct TaskStat {
  pid_t parent = 0;
  bool exiting = false;      // PF_EXITING: it won't run its own code again
  bool killPending = false;  // SIGKILL is on its way to this very thread
  long threads = 0;
  int waitStatus = 0;  // as wait(2) will give it; 0 where we may not read it
};
std::optional<TaskStat> parseTaskStat(std::string_view text);

/// How a child of ours, which is unreaped, is going to end, while its memory is being freed.
/// @returns nothing if it isn't ending (it has exec'd, or only its first thread is done), if it
/// ends
///   well, or if we may not know
std::optional<ExitStatus> dyingStatus(pid_t pid);

}  // namespace regroup
