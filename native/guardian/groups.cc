#include "guardian/groups.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "core/base/raw.h"
#include "guardian/cgroups.h"
#include "guardian/proc.h"
#include "guardian/text.h"

using regroup::rawCall;

namespace guardian {

namespace {

constexpr char kCookieName[] = "REGROUP_COOKIE=";
constexpr size_t kCookieNameBytes = sizeof kCookieName - 1;

/// More at once are beyond any agent; what finds no place is still found by the others' means.
constexpr size_t kMaxGroups = 256;
constexpr size_t kMaxLeaders = 16384;
constexpr size_t kMaxCookie = 96;
static_assert(kCookieNameBytes + kMaxCookie <= kMaxCookieEntry);

/// Of /proc's clock: USER_HZ, the same wherever we run.
constexpr uint64_t kTicksPerSecond = 100;
constexpr uint64_t kReuseTicks = 5;

struct Group {
  bool live;
  bool held;            // by cgroups
  long lingersUntilMs;  // 0: it doesn't
  uint64_t id;
  size_t cookieBytes;
  char cookie[kMaxCookie];
};
struct Leader {
  uint64_t group;
  uint32_t pid;
  int pidfd;  // -1: the kernel has none
};

Group groups[kMaxGroups];
Leader leaders[kMaxLeaders];
size_t leaderCount = 0;
uint64_t agentEndTick = 0;
bool isTurnOfLingering = false;
bool isAnyUnknown = false;

Group* groupOf(uint64_t id) {
  for (Group& group : groups) {
    if (group.live && group.id == id) return &group;
  }
  return nullptr;
}

bool hasTurn(const Group& group) {
  return group.live && (group.lingersUntilMs != 0) == isTurnOfLingering;
}

bool exists(uint32_t pid) {
  return rawCall(SYS_kill, pid, 0) != -kNoProcess;
}

/// Whether it's the agent's still, or was when that ended: alive, or a zombie.
bool isHeld(const Leader& leader) {
  return rawCall(kSysPidfdSendSignal, leader.pidfd, 0, 0, 0) == 0;
}

/// Fallback: kernel < 5.3 has no pidfds. Numbers are given in turn: a stranger could have this one
/// only after tens of thousands of others, which takes longer than kReuseTicks. (Reading the start
/// waits for nobody on such a kernel.)
bool isOlderThanAgentEnd(uint32_t pid) {
  return startTickOf(pid) <= agentEndTick + kReuseTicks;
}

}  // namespace

void beginGroup(uint64_t id, const char* cookie, size_t bytes) {
  if (groupOf(id)) return;
  if (bytes == 0 || bytes > kMaxCookie) return noteUnknown();
  for (Group& group : groups) {
    if (group.live) continue;
    group.live = true;
    group.held = false;
    group.lingersUntilMs = 0;
    group.id = id;
    group.cookieBytes = bytes;
    for (size_t i = 0; i < bytes; i++) group.cookie[i] = cookie[i];
    return;
  }
  noteUnknown();
}

void endGroup(uint64_t id) {
  endCgroups(id);
  if (Group* const group = groupOf(id)) group->live = false;
  forgetLeader(id, 0);
}

void holdGroup(uint64_t id) {
  if (Group* const group = groupOf(id)) group->held = true;
}

void addLeader(uint64_t group, uint32_t pid) {
  if (leaderCount == kMaxLeaders) return noteUnknown();
  // Told late, its number may be a stranger's already: only the agent's own child is a worker.
  if (procIsOurs() && parentOf(pid) != agentPid()) return;
  const long pidfd = rawCall(kSysPidfdOpen, pid, 0);
  if (pidfd == -kNoProcess) return;
  leaders[leaderCount++] = {group, pid, static_cast<int>(pidfd < 0 ? -1 : pidfd)};
}

void forgetLeader(uint64_t group, uint32_t pid) {
  for (size_t i = 0; i < leaderCount;) {
    if (leaders[i].group != group || (pid != 0 && leaders[i].pid != pid)) {
      i++;
      continue;
    }
    if (leaders[i].pidfd >= 0) rawCall(SYS_close, leaders[i].pidfd);
    leaders[i] = leaders[--leaderCount];
  }
}

void lingerGroup(uint64_t id, uint64_t milliseconds) {
  if (Group* const group = groupOf(id))
    group->lingersUntilMs = nowMs() + static_cast<long>(milliseconds);
}

void turnToLingering() {
  isTurnOfLingering = true;
}

bool hasTurn(uint64_t id) {
  const Group* const group = groupOf(id);
  return group != nullptr && hasTurn(*group);
}

long lingersUntilMs() {
  long until = 0;
  for (const Group& group : groups) {
    if (group.live && group.lingersUntilMs > until) until = group.lingersUntilMs;
  }
  return until;
}

bool anyGroup() {
  for (const Group& group : groups) {
    if (hasTurn(group)) return true;
  }
  return false;
}

bool knowsAll() {
  return !isAnyUnknown;
}

void noteUnknown() {
  isAnyUnknown = true;
}

bool haveLeadersEnded() {
  for (size_t i = 0; i < leaderCount; i++) {
    // Fallback: kernel < 5.3 has no pidfds to ask.
    pollfd poll{leaders[i].pidfd, POLLIN, 0};
    const timespec now{};
    if (leaders[i].pidfd < 0 || rawCall(SYS_ppoll, pointer(&poll), 1, pointer(&now), 0, 0) != 1)
      return false;
  }
  return true;
}

bool anyLoose() {
  for (const Group& group : groups) {
    if (hasTurn(group) && !group.held) return true;
  }
  return false;
}

void killLeaders() {
  for (size_t i = 0; i < leaderCount; i++) {
    const Leader& leader = leaders[i];
    if (leader.pidfd < 0 || !isHeld(leader)) continue;
    rawCall(SYS_kill, -static_cast<long>(leader.pid), SIGKILL);
    rawCall(kSysPidfdSendSignal, leader.pidfd, SIGKILL, 0, 0);
  }
}

/// One without a worker may have its first yet, once the fence was moved, and no cgroup is used
/// again after a kill.
bool hasWorker(uint64_t group) {
  for (size_t i = 0; i < leaderCount; i++) {
    if (leaders[i].group == group) return true;
  }
  return false;
}

void killWorkers() {
  killLeaders();
  for (size_t i = 0; i < leaderCount; i++) {
    const Leader& leader = leaders[i];
    // Fallback: kernel < 5.3 has no pidfds. A child of the agent is its own still.
    if (leader.pidfd >= 0 || !procIsOurs() || parentOf(leader.pid) != agentPid()) continue;
    rawCall(SYS_kill, -static_cast<long>(leader.pid), SIGKILL);
    rawCall(SYS_kill, leader.pid, SIGKILL);
  }
  (void)killCgroups(hasWorker);
}

/// A session's number stays its leader's while anybody is in it. So one that the agent held when it
/// ended is ours until there's another process of that number.
bool isOurs(uint64_t session, uint32_t pid) {
  for (size_t i = 0; i < leaderCount; i++) {
    const Leader& leader = leaders[i];
    if (leader.pid != session) continue;
    if (leader.pidfd < 0 ? isOlderThanAgentEnd(pid) : isHeld(leader) || !exists(leader.pid))
      return true;
  }
  return false;
}

bool isCookie(const char* entry, size_t bytes) {
  if (bytes <= kCookieNameBytes || !equal(entry, kCookieName, kCookieNameBytes)) return false;
  for (const Group& group : groups) {
    if (hasTurn(group) && group.cookieBytes == bytes - kCookieNameBytes &&
        equal(group.cookie, entry + kCookieNameBytes, group.cookieBytes))
      return true;
  }
  return false;
}

void noteAgentEnd() {
  timespec boot{};
  rawCall(SYS_clock_gettime, CLOCK_BOOTTIME, pointer(&boot));
  agentEndTick = static_cast<uint64_t>(boot.tv_sec) * kTicksPerSecond +
                 static_cast<uint64_t>(boot.tv_nsec) / (1'000'000'000 / kTicksPerSecond);
}

long nowMs() {
  timespec time{};
  rawCall(SYS_clock_gettime, CLOCK_MONOTONIC, pointer(&time));
  return time.tv_sec * 1000 + time.tv_nsec / 1'000'000;
}

}  // namespace guardian
