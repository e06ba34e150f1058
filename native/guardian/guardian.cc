// The guardian: a process that outlives its agent, and lets none of the agent's workers do so.
//
// The agent tells it through stdin which worker groups there are. When stdin ends without a
// goodbye, the agent is gone: killed, crashed, out of memory. Then each process of a group that's
// still there is killed: workers, what they forked, and what that hid behind a session of its own.
//
// Where the agent has a fence, its timer is at stdout. When that has passed, workers are killed
// whatever the agent does: it may be frozen, or held up.
//
// Lines:
//   G <group> <cookie>    before the group's first worker
//   C <group> <path>      before a cgroup of it is made
//   W <group> <pid>       of a worker, which leads a session
//   I <group>             all of it is in its cgroups
//   R <group> [<pid>]     before the agent lets go of a worker's number, or of all of the group's
//   E <group>             nothing is left of it
//   H <controllers> <path> and L 0 <path>: see home.h
//   T <group> <ms>        whoever is left of it has so much time to end by itself
//   N 0 <hex> <hex>       what a server is told when nobody is left: see notice.h
//   Q                     goodbye
//
// It has no libc, so that it can be linked and run anywhere, and no heap. Its only process never
// makes a call that anybody else can hold up: see search.h.

#include <poll.h>
#include <signal.h>
#include <sys/timerfd.h>
#include <time.h>

#include "guardian/cgroups.h"
#include "guardian/groups.h"
#include "guardian/home.h"
#include "guardian/notice.h"
#include "guardian/proc.h"
#include "guardian/search.h"

using guardian::nowMs;
using guardian::pointer;
using guardian::readNumber;
using regroup::rawCall;

// The compiler calls these for copies and clears that it finds.
extern "C" {
void* memcpy(void* to, const void* from, size_t bytes) {
  for (size_t i = 0; i < bytes; i++)
    static_cast<volatile char*>(to)[i] = static_cast<const char*>(from)[i];
  return to;
}
void* memset(void* to, int value, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) static_cast<volatile char*>(to)[i] = static_cast<char>(value);
  return to;
}
}

namespace {

/// A process stuck in the kernel may not go for longer; nothing in user space helps it.
constexpr long kPatienceMs = 30'000;
/// Between two looks whether such a one is gone.
constexpr long kStuckPauseNs = 250'000'000;
/// For a cgroup that's empty to be removable.
constexpr long kEmptyMs = 5'000;
/// Between two looks at those who may end by themselves.
constexpr long kLingerPauseNs = 20'000'000;

/// @returns false: goodbye
bool obey(const char* line, const char* end) {
  if (end - line < 1) return true;
  if (line[0] == 'Q') return false;
  if (end - line < 3 || line[1] != ' ') return true;
  uint64_t id = 0;
  const char* rest = readNumber(line + 2, end, id);
  if (rest < end && *rest == ' ') rest++;
  const auto bytes = static_cast<size_t>(end - rest);
  uint64_t number = 0;
  switch (line[0]) {
    case 'G':
      guardian::beginGroup(id, rest, bytes);
      break;
    case 'C':
      guardian::addCgroup(id, rest, bytes);
      break;
    case 'W':
      readNumber(rest, end, number);
      if (number > 1) guardian::addLeader(id, static_cast<uint32_t>(number));
      break;
    case 'I':
      guardian::holdGroup(id);
      break;
    case 'R':
      readNumber(rest, end, number);
      guardian::forgetLeader(id, static_cast<uint32_t>(number));
      break;
    case 'E':
      guardian::endGroup(id);
      break;
    case 'H':
      guardian::setHome(id, rest, bytes);
      break;
    case 'L':
      guardian::setLeaf(rest, bytes);
      break;
    case 'T':
      readNumber(rest, end, number);
      guardian::lingerGroup(id, number);
      break;
    case 'N':
      guardian::setNotice(rest, bytes);
      break;
    default:
      break;
  }
  return true;
}

bool isFenced = false;

bool hasFence() {
  itimerspec left{};
  // EINVAL: no timer, but /dev/null.
  return rawCall(SYS_timerfd_gettime, 1, pointer(&left)) == 0;
}

/// Returns once there's something to read. Until then sees to the fence: what moves it is no line,
/// so that none of those that wait here may say that it hasn't passed.
void awaitLine() {
  long pause = 1'000'000;
  for (;;) {
    pollfd polls[] = {{0, POLLIN, 0}, {1, POLLIN, 0}};
    rawCall(SYS_ppoll, pointer(polls), isFenced ? 2 : 1, 0, 0);
    if (polls[0].revents != 0) return;
    if ((polls[1].revents & POLLIN) == 0) continue;
    guardian::killWorkers();
    // It stays readable. One may have forked while we looked.
    const timespec atMost{0, pause};
    rawCall(SYS_ppoll, pointer(polls), 1, pointer(&atMost), 0);
    if (pause < 500'000'000) pause *= 2;
  }
}

/// Reads lines until the agent says goodbye or is gone. @returns whether it's gone without one
bool listen() {
  static char buffer[64 << 10];
  static char line[2048];
  size_t held = 0;
  for (;;) {
    awaitLine();
    const long size = rawCall(SYS_read, 0, pointer(buffer), sizeof buffer);
    if (size == -4) continue;  // EINTR
    if (size <= 0) return true;
    for (long i = 0; i < size; i++) {
      if (buffer[i] != '\n') {
        if (held < sizeof line) line[held++] = buffer[i];
        continue;
      }
      if (!obey(line, line + held)) return false;
      held = 0;
    }
  }
}

void ignoreSignals() {
  // The kernel's sigaction: SIG_IGN, no flags, empty mask.
  const uint64_t ignore[4] = {1, 0, 0, 0};
  for (int signal = 1; signal <= 64; signal++)
    rawCall(SYS_rt_sigaction, signal, pointer(ignore), 0, sizeof(uint64_t));
}

/// The last to be taken when memory runs out; only root may ask for it.
void askToBeSpared() {
  const long fd =
      rawCall(SYS_openat, AT_FDCWD, pointer("/proc/self/oom_score_adj"), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  rawCall(SYS_write, fd, pointer("-1000"), 5);
  rawCall(SYS_close, fd);
}

void sleep(long ns) {
  timespec pause{0, ns};
  rawCall(SYS_nanosleep, pointer(&pause), 0);
}

/// @returns whether nobody is left, for certain
bool avenge() {
  bool isSure = true;
  const long until = nowMs() + kPatienceMs;
  long pause = 1'000'000;
  // Until none is found, twice: one may have forked while we looked, and one that's within execve
  // has no environment for a moment.
  int quiet = 0;
  while (quiet < 2 && nowMs() < until) {
    guardian::killLeaders();
    const bool inCgroups = guardian::killCgroups(guardian::hasTurn);
    const bool isLoose = guardian::anyLoose();
    const bool isLeft = isLoose && guardian::killLeft();
    isSure = !isLoose || guardian::sawAll();
    quiet = isLeft || inCgroups || !guardian::removeCgroups() ? 0 : quiet + 1;
    sleep(pause);
    if (pause < 64'000'000) pause *= 2;
  }
  return quiet == 2 && isSure;
}

/// The same of those who may end by themselves, once they've had their time.
bool outlastLingering() {
  while (nowMs() < guardian::lingersUntilMs() &&
         (guardian::anyInCgroups() || (guardian::anyLoose() && guardian::anyLeft())))
    sleep(kLingerPauseNs);
  return avenge();
}

/// @returns whether nobody of any group is left, for certain
bool avengeAll() {
  // Before those whom it kills; only root may ask for it.
  rawCall(SYS_setpriority, 0, 0, -20);
  guardian::noteAgentEnd();
  bool isSure = !guardian::anyGroup() || avenge();
  guardian::turnToLingering();
  if (guardian::anyGroup()) isSure = outlastLingering() && isSure;
  return isSure && guardian::knowsAll() && guardian::haveLeadersEnded();
}

/// Nobody comes after us who would remove the cgroups of those that are stuck. They die as soon as
/// they come loose: they have been killed.
void outwaitStuck() {
  long until = nowMs() + kEmptyMs;
  for (;;) {
    const auto left = guardian::removeEmptyCgroups();
    if (left == guardian::CgroupsLeft::None) return;
    if (left == guardian::CgroupsLeft::Populated) until = nowMs() + kEmptyMs;
    if (nowMs() >= until) return;
    sleep(kStuckPauseNs);
  }
}

[[noreturn]] void run() {
  guardian::noteAgent();
  ignoreSignals();
  askToBeSpared();
  isFenced = hasFence();
  if (listen()) {
    // Were it told too early, others would take the place of workers that live.
    if (avengeAll()) guardian::giveNotice();
    guardian::restoreHome();
    outwaitStuck();
  }
  for (;;) rawCall(SYS_exit_group, 0);
}

}  // namespace

extern "C" [[noreturn, gnu::used]] void guardianMain() {
  run();
}

#if defined(__x86_64__)
asm(".globl _start\n_start:\n\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall guardianMain\n");
#elif defined(__aarch64__)
asm(".globl _start\n_start:\n\tmov x29, xzr\n\tmov x30, xzr\n\tbl guardianMain\n");
#endif
