#include "core/process/strays.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <unordered_set>

#include "core/base/syscall.h"

namespace regroup {

namespace {

/// Bounds the memory that a process with a monstrous environment can make us take.
constexpr size_t kMaxEnvironBytes = 8 * 1024 * 1024;

std::string procPath(pid_t pid, const char* file) {
  return "/proc/" + std::to_string(pid) + "/" + file;
}

/// What a process must show to be one of the group's.
class Search {
 public:
  Search(const std::string& cookie, std::span<const pid_t> leaders)
      : needle_(std::string(kCookieName) + "=" + cookie + '\0'),
        hasCookie_(!cookie.empty()),
        leaders_(leaders) {}

  bool matches(pid_t pid) const {
    const pid_t session = ::getsid(pid);
    if (session <= 0) return false;  // gone, or a kernel thread
    if (std::find(leaders_.begin(), leaders_.end(), session) != leaders_.end()) return true;
    return hasCookie_ && environHasCookie(pid);
  }

  bool isLeader(pid_t pid) const {
    return std::find(leaders_.begin(), leaders_.end(), pid) != leaders_.end();
  }

 private:
  bool environHasCookie(pid_t pid) const {
    // EACCES: somebody else's; ESRCH: gone. Neither is for us.
    auto environ = readFile(procPath(pid, "environ").c_str(), kMaxEnvironBytes);
    if (!environ) return false;
    for (size_t at = 0; (at = environ->find(needle_, at)) != std::string::npos; at++) {
      if (at == 0 || (*environ)[at - 1] == '\0') return true;
    }
    return false;
  }

  const std::string needle_;  // a whole entry with its end
  const bool hasCookie_;
  const std::span<const pid_t> leaders_;
};

}  // namespace

std::vector<Stray> findStrays(const std::string& cookie, std::span<const pid_t> leaders,
                              const Features& features) {
  std::vector<Stray> strays;
  const Search search(cookie, leaders);
  const pid_t self = ::getpid();
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(::opendir("/proc"), ::closedir);
  if (!proc) return strays;

  while (const dirent* entry = ::readdir(proc.get())) {
    pid_t pid = 0;
    const char* const end = entry->d_name + ::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, pid).ptr != end || pid <= 1) continue;
    if (pid == self || search.isLeader(pid) || !search.matches(pid)) continue;

    if (!features.pidfd) {
      // Fallback: kernel < 5.3 has no pidfd_open. The pid may change hands within microseconds
      // of this; nothing better can be had there.
      if (processState(pid) != 'Z') strays.push_back({pid, Fd()});
      continue;
    }
    auto pidfd = openPidfd(pid);
    if (!pidfd) continue;  // gone meanwhile
    // Asked again, now that the pid is pinned: if the pidfd's process lives *after* it matched,
    // then it was this one that matched.
    if (!search.matches(pid) || waitReadable(*pidfd, std::chrono::milliseconds(0))) continue;
    strays.push_back({pid, *std::move(pidfd)});
  }
  return strays;
}

void addMembers(const Cgroup& cgroup, std::span<const pid_t> leaders, const Features& features,
                std::vector<Stray>& strays) {
  std::unordered_set<pid_t> known(leaders.begin(), leaders.end());
  known.insert(::getpid());
  for (const Stray& stray : strays) known.insert(stray.pid);
  std::vector<Stray> found;
  for (const pid_t pid : cgroup.members()) {
    if (!known.insert(pid).second) continue;
    if (!features.pidfd) {
      // Fallback: kernel < 5.3 has no pidfd_open, as above.
      if (processState(pid) != 'Z') strays.push_back({pid, Fd()});
    } else if (auto pidfd = openPidfd(pid)) {
      found.push_back({pid, *std::move(pidfd)});
    }
  }
  if (found.empty()) return;
  // Asked again now that the pids are pinned, as above.
  const auto again = cgroup.members();
  const std::unordered_set<pid_t> members(again.begin(), again.end());
  for (Stray& stray : found) {
    if (members.contains(stray.pid) && !waitReadable(stray.pidfd, std::chrono::milliseconds(0)))
      strays.push_back(std::move(stray));
  }
}

void signalStray(const Stray& stray, int signal, const Features& features) {
  if (stray.pidfd && features.pidfdSignal) {
    (void)sendSignal(stray.pidfd, signal);
  } else {
    (void)killPid(stray.pid, signal);
  }
}

char processState(pid_t pid) {
  auto stat = readFile(procPath(pid, "stat").c_str(), 4096);
  if (!stat) return '?';
  // The name before it is in parentheses and may hold any.
  const size_t end = stat->rfind(") ");
  return end == std::string::npos || end + 2 >= stat->size() ? '?' : (*stat)[end + 2];
}

std::string waitChannel(pid_t pid) {
  auto channel = readFile(procPath(pid, "wchan").c_str(), 4096);
  return channel && *channel != "0" ? *std::move(channel) : std::string();
}

}  // namespace regroup
