#pragma once

#include <fcntl.h>
#include <sys/syscall.h>

#include <cstdint>

#include "core/base/dir_entry.h"
#include "core/base/raw.h"
#include "guardian/text.h"

/// What the guardian reads of /proc and of pidfds.
namespace guardian {

constexpr long kSysPidfdSendSignal = 424;
constexpr long kSysPidfdOpen = 434;
constexpr long kNoProcess = 3;  // ESRCH

/// The agent, which has started us. To be called while it can still be asked for.
void noteAgent();
uint32_t agentPid();
/// Whether it's in session 0, as far as this pid namespace can tell: then somebody else who is
/// needn't be a thread of the kernel.
bool agentHasNoSession();

/// Whether /proc numbers processes as we do: in a pid namespace it may be the parent's.
bool procIsOurs();

/// A file of a process; 48 bytes are enough for any name that's asked for.
struct Path {
  char text[64];
};
Path procPath(uint32_t pid, const char* file);
Path procPath(uint32_t pid, uint32_t thread, const char* file);

/// These wait for nobody: see core/base/proc.h.
struct Status {
  char state = '?';
  uint64_t parent = 0;
  uint64_t threads = 0;
};
/// @returns false: there's no such process
bool readStatus(uint32_t pid, Status& status);
uint64_t parentOf(uint32_t pid);
/// Whether we may look into it: its owner is ours, or we're root.
bool mayLookInto(uint32_t pid);

/// Of its /proc/PID/stat, which may wait for it. 0: unknown.
uint64_t startTickOf(uint32_t pid);

/// Calls `visit(number)` for each entry of a folder that's a number. The buffer is the frame's own,
/// since visits nest.
template <typename Visit>
void eachNumber(const char* folder, Visit visit) {
  alignas(8) char entries[8192];
  const long list =
      regroup::rawCall(SYS_openat, AT_FDCWD, pointer(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (list < 0) return;
  long size;
  while ((size = regroup::rawCall(SYS_getdents64, list, pointer(entries), sizeof entries)) > 0) {
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const regroup::DirEntry*>(entries + at);
      at += entry->bytes;
      uint64_t number = 0;
      const char* const end = readNumber(entry->name, entry->name + 20, number);
      if (*end == '\0' && number > 0) visit(static_cast<uint32_t>(number));
    }
  }
  regroup::rawCall(SYS_close, list);
}

}  // namespace guardian
