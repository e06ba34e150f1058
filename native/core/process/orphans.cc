#include "core/process/orphans.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <string>

#include "core/base/own_proc.h"
#include "core/base/syscall.h"

namespace regroup {

namespace {

/// Whether /proc/PID/stat, `name (…) state ppid …`, tells of a zombie child of `parent`.
bool isZombieOf(const std::string& stat, pid_t parent) {
  // The name before it is in parentheses and may hold any.
  const size_t end = stat.rfind(") ");
  if (end == std::string::npos || stat.compare(end + 2, 2, "Z ") != 0) return false;
  pid_t ppid = 0;
  (void)std::from_chars(stat.data() + end + 4, stat.data() + stat.size(), ppid);
  return ppid == parent;
}

}  // namespace

size_t reapOrphans(std::span<const pid_t> ours) {
  // Else its zombies are strangers whose numbers our own children may have, whose statuses somebody
  // waits for.
  if (!procIsOurs()) return 0;
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), ::closedir);
  if (!proc) return 0;
  const pid_t self = ::getpid();
  size_t reaped = 0;
  while (const dirent* entry = ::readdir(proc.get())) {
    pid_t pid = 0;
    const char* const end = entry->d_name + ::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, pid).ptr != end || pid <= 1) continue;
    if (std::find(ours.begin(), ours.end(), pid) != ours.end()) continue;
    auto stat = readFile(("/proc/" + std::string(entry->d_name) + "/stat").c_str(), 4096);
    if (!stat || !isZombieOf(*stat, self)) continue;
    auto status = waitForExit(pid, Reap::Yes);
    if (status && *status) reaped++;
  }
  return reaped;
}

}  // namespace regroup
