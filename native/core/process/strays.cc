#include "core/process/strays.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <string_view>
#include <utility>

#include "core/base/apart.h"
#include "core/base/own_proc.h"
#include "core/base/syscall.h"
#include "core/cgroup/cgroup.h"
#include "core/gpu/holders.h"

namespace regroup {

namespace {

using std::chrono::milliseconds;

/// Bounds the memory that a process with a monstrous environment can make us take.
constexpr size_t kMaxEnvironBytes = 8 * 1024 * 1024;
constexpr size_t kMaxStatBytes = 4096;
/// A process that shows nothing for so long is sick; all of them together mustn't hold up a round.
constexpr VisitLimits kPatience{milliseconds(100), milliseconds(1000)};
constexpr uint64_t kPfForkNoExec = 0x40;  // the kernel's linux/sched.h

bool contains(const std::vector<pid_t>& pids, pid_t pid) {
  return std::find(pids.begin(), pids.end(), pid) != pids.end();
}

/// Of a process whose first thread has ended the others still show it.
std::string environmentOf(pid_t pid) {
  auto environment = readFile(procPath(pid, "environ").c_str(), kMaxEnvironBytes);
  if (environment && !environment->empty()) return *std::move(environment);
  // EACCES: somebody else's; it's for none of us, whichever of its threads is asked.
  if (!environment && environment.error().code != ESRCH) return {};
  for (const pid_t thread : threadsOf(pid)) {
    const std::string path = procPath(pid, "task/" + std::to_string(thread) + "/environ");
    auto own = readFile(path.c_str(), kMaxEnvironBytes);
    if (own && !own->empty()) return *std::move(own);
  }
  return {};
}

/// Whether `entry`, with its end, is a whole one.
bool hasEntry(const std::string& environment, const std::string& entry) {
  const std::string needle = entry + '\0';
  for (size_t at = 0; (at = environment.find(needle, at)) != std::string::npos; at++) {
    if (at == 0 || environment[at - 1] == '\0') return true;
  }
  return false;
}

bool hasExecd(pid_t pid) {
  constexpr int kFlags = 9;  // as proc(5) numbers them
  auto stat = readFile(procPath(pid, "stat").c_str(), kMaxStatBytes);
  if (!stat) return true;
  // The name before it is in parentheses and may hold any.
  std::string_view rest(*stat);
  rest.remove_prefix(std::min(rest.size(), rest.rfind(") ") + 2));
  for (int field = 3; field < kFlags; field++)
    rest.remove_prefix(std::min(rest.size(), rest.find(' ') + 1));
  uint64_t flags = 0;
  (void)std::from_chars(rest.data(), rest.data() + rest.size(), flags);
  return (flags & kPfForkNoExec) == 0;
}

/// Who is one by what can be known without waiting.
bool isKnown(const Wanted& wanted, pid_t pid) {
  if (!wanted.cgroup.empty()) return true;  // as its list said, and will say again
  const pid_t session = ::getsid(pid);
  return session > 0 && contains(wanted.leaders, session);
}

/// What there is to know of it without waiting.
Stray describe(const Wanted& wanted, pid_t pid, Fd pidfd) {
  Stray stray;
  stray.pid = pid;
  stray.pidfd = std::move(pidfd);
  if (!procIsOurs()) return stray;
  stray.parent = statusOf(pid).value_or(ProcessStatus{}).parent;
  stray.group = std::max(0, ::getpgid(pid));
  stray.isDetached = !contains(wanted.leaders, ::getsid(pid));
  stray.command = commandOf(pid);
  return stray;
}

bool isKnownDead(pid_t pid) {
  return procIsOurs() && isDead(statusOf(pid));
}

/// Pinned: its pid is right if it matches after this, and it lives on.
std::optional<Fd> pin(pid_t pid, const Features& features) {
  // Fallback: kernel < 5.3 has no pidfd_open. The pid may change hands within microseconds of this;
  // nothing better can be had there.
  if (!features.pidfd) return isKnownDead(pid) ? std::nullopt : std::optional(Fd());
  auto pidfd = openPidfd(pid);
  if (!pidfd) return std::nullopt;  // gone meanwhile
  return *std::move(pidfd);
}

bool isGone(const Fd& pidfd) {
  return pidfd && waitReadable(pidfd, milliseconds(0));
}

/// What only the process itself shows: may wait for it. Nothing: it's none of the group's.
/// std::function copies what it gives, which a descriptor can't be.
std::shared_ptr<Stray> lookAt(const Wanted& wanted, const Features& features, pid_t pid) {
  auto pidfd = pin(pid, features);
  if (!pidfd) return nullptr;
  // Pinned first: if the pidfd's process lives *after* it matched, then it was this one that did.
  const std::string environment = environmentOf(pid);
  const std::string cookie = std::string(kCookieName) + "=" + wanted.cookie;
  const bool matches =
      isKnown(wanted, pid) || (!wanted.cookie.empty() && hasEntry(environment, cookie));
  if (!matches) return nullptr;
  auto stray = std::make_shared<Stray>(describe(wanted, pid, *std::move(pidfd)));
  stray->isFork = !hasExecd(pid);
  stray->asksToBeLeft = hasEntry(environment, std::string(kLeaveName) + "=1");
  const bool mayStay = stray->asksToBeLeft || (wanted.mayLeave && stray->isDetached);
  if (mayStay) {
    const auto held = devicesOf(pid, wanted.devices);
    stray->holdsGpu = !held || !held->empty();
  }
  return isGone(stray->pidfd) ? nullptr : stray;
}

/// Whose environment may tell more: nobody who was there before the round, and nobody whom we may
/// not look into. Waits for nobody.
std::vector<pid_t> candidates(const Wanted& wanted, ProcessAges& ages) {
  std::vector<pid_t> found;
  if (!procIsOurs()) return found;
  const pid_t self = ::getpid();
  const uid_t user = ::geteuid();
  const auto all = allProcesses();
  for (const pid_t pid : all) {
    if (pid <= 1 || pid == self || contains(wanted.leaders, pid)) continue;
    if (!isUsers(pid)) continue;
    const auto entry = entryOf(pid);
    if (!entry || ages.wasThere(pid, *entry, wanted.since)) continue;
    if (isKnown(wanted, pid) || user == 0 || entry->owner == user) found.push_back(pid);
  }
  ages.keep(all);
  return found;
}

/// Those that are in the cgroup still, now that they're pinned.
void keepMembers(const Wanted& wanted, std::vector<Stray>& strays) {
  const auto again = strangersIn(wanted.cgroup, wanted.leaders);
  const std::set<pid_t> members(again.begin(), again.end());
  std::erase_if(strays, [&](const Stray& stray) { return !members.contains(stray.pid); });
}

/// One of whom it's known whose it is, and who hasn't shown more.
void addUnseen(const Wanted& wanted, const Features& features, pid_t pid,
               std::vector<Stray>& strays) {
  auto pidfd = pin(pid, features);
  if (!pidfd || !isKnown(wanted, pid) || isGone(*pidfd) || isKnownDead(pid)) return;
  strays.push_back(describe(wanted, pid, *std::move(pidfd)));
}

}  // namespace

void ProcessAges::note() {
  const auto all = allProcesses();
  for (const pid_t pid : all) {
    if (!isUsers(pid)) continue;
    if (const auto entry = entryOf(pid)) (void)wasThere(pid, *entry, TimePoint());
  }
  keep(all);
}

bool ProcessAges::wasThere(pid_t pid, const ProcEntry& entry, TimePoint then) {
  const std::lock_guard lock(seenMutex_);
  const auto [at, isNew] = seen_.try_emplace(pid, Seen{entry, monotonicNow()});
  if (!isNew && !at->second.entry.isSame(entry)) at->second = {entry, monotonicNow()};
  return at->second.first < then;
}

void ProcessAges::keep(const std::vector<pid_t>& pids) {
  const std::set<pid_t> there(pids.begin(), pids.end());
  const std::lock_guard lock(seenMutex_);
  std::erase_if(seen_, [&](const auto& each) { return !there.contains(each.first); });
}

std::vector<pid_t> strangersIn(const std::string& cgroup, const std::vector<pid_t>& leaders) {
  auto members = membersOf(cgroup);
  const pid_t self = ::getpid();
  std::erase_if(members, [&](pid_t pid) { return pid == self || contains(leaders, pid); });
  return members;
}

std::vector<Stray> findStrays(const Wanted& wanted, const Features& features, ProcessAges& ages) {
  const bool isHeld = !wanted.cgroup.empty();
  const auto pids = isHeld ? strangersIn(wanted.cgroup, wanted.leaders) : candidates(wanted, ages);
  std::map<pid_t, std::shared_ptr<Stray>> seen;
  if (procIsOurs()) {
    seen = askApart<std::shared_ptr<Stray>>(
        pids, [wanted, features](pid_t pid) { return lookAt(wanted, features, pid); }, kPatience);
  }
  std::vector<Stray> strays;
  for (const pid_t pid : pids) {
    const auto answer = seen.find(pid);
    if (answer == seen.end()) {
      addUnseen(wanted, features, pid, strays);
    } else if (answer->second) {
      strays.push_back(std::move(*answer->second));
    }
  }
  if (isHeld) keepMembers(wanted, strays);
  return strays;
}

std::vector<Stray> findStraysAtOnce(const Wanted& wanted, const Features& features) {
  const bool isHeld = !wanted.cgroup.empty();
  std::vector<pid_t> pids;
  if (isHeld) {
    pids = strangersIn(wanted.cgroup, wanted.leaders);
  } else if (procIsOurs()) {
    pids = allProcesses();
    const pid_t self = ::getpid();
    std::erase_if(pids, [&](pid_t pid) { return pid == self || contains(wanted.leaders, pid); });
  }
  std::vector<Stray> strays;
  for (const pid_t pid : pids) {
    if (isKnown(wanted, pid)) addUnseen(wanted, features, pid, strays);
  }
  if (isHeld) keepMembers(wanted, strays);
  return strays;
}

bool hasEnded(const Stray& stray) {
  return stray.pidfd ? isGone(stray.pidfd) : isKnownDead(stray.pid);
}

void signalStray(const Stray& stray, int signal, const Features& features) {
  if (stray.pidfd && features.pidfdSignal) {
    (void)sendSignal(stray.pidfd, signal);
  } else {
    (void)killPid(stray.pid, signal);
  }
}

}  // namespace regroup
