// The guardian: a process that outlives its agent, and lets none of the agent's workers do so.
//
// The agent tells it through stdin which worker groups there are. When stdin ends without a
// goodbye, the agent is gone: killed, crashed, out of memory. Then each process of a group that's
// still there is killed: workers, what they forked, and what that hid behind a session of its own.
//
// Lines: `G <group> <cookie>`, before the group's first worker; `W <group> <pid>`, of a worker,
// which leads a session; `C <group> <path>`, before a cgroup of it is made; `E <group>`, when
// nothing is left of it; `H <controllers> <path>` and `L 0 <path>`, see home.h; `Q`, goodbye.
//
// It has no libc, so that it can be linked and run anywhere, and no heap. It's single-threaded.

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include <cstddef>
#include <cstdint>

#include "core/base/raw.h"
#include "guardian/cgroups.h"
#include "guardian/home.h"

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

constexpr long kSysPidfdSendSignal = 424;
constexpr long kSysPidfdOpen = 434;

constexpr char kCookieEntry[] = "REGROUP_COOKIE=";
constexpr size_t kCookieEntryBytes = sizeof kCookieEntry - 1;

/// More at once are beyond any agent; what finds no place is still found by the others' means.
constexpr size_t kMaxGroups = 256;
constexpr size_t kMaxLeaders = 16384;
constexpr size_t kMaxCookie = 96;
/// A process stuck in the kernel may not go for longer; nothing in user space helps it.
constexpr long kPatienceSeconds = 30;
/// Of /proc's clock: USER_HZ, the same wherever we run.
constexpr uint64_t kTicksPerSecond = 100;
constexpr uint64_t kReuseTicks = 5;
constexpr size_t kMaxEnvironBytes = 8 << 20;

struct Group {
  bool live;
  uint64_t id;
  size_t cookieBytes;
  char cookie[kMaxCookie];
};
struct Leader {
  uint64_t group;
  uint32_t pid;
};

Group groups[kMaxGroups];
Leader leaders[kMaxLeaders];
size_t leaderCount = 0;
uint64_t agentEndTick = 0;
char buffer[64 << 10];
alignas(8) char entries[32 << 10];

long pointer(const void* at) {
  return reinterpret_cast<long>(at);
}

bool equal(const char* a, const char* b, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

/// A number and what follows it; nothing moves where there's none.
const char* readNumber(const char* at, const char* end, uint64_t& number) {
  number = 0;
  for (; at < end && *at >= '0' && *at <= '9'; at++)
    number = number * 10 + static_cast<uint64_t>(*at - '0');
  return at;
}

// ------------------------------------------------------------------------------------------
// What the agent tells

Group* groupOf(uint64_t id) {
  for (Group& group : groups) {
    if (group.live && group.id == id) return &group;
  }
  return nullptr;
}

void beginGroup(uint64_t id, const char* cookie, size_t bytes) {
  if (bytes == 0 || bytes > kMaxCookie || groupOf(id)) return;
  for (Group& group : groups) {
    if (group.live) continue;
    group.live = true;
    group.id = id;
    group.cookieBytes = bytes;
    memcpy(group.cookie, cookie, bytes);
    return;
  }
}

void endGroup(uint64_t id) {
  guardian::endCgroups(id);
  if (Group* const group = groupOf(id)) group->live = false;
  for (size_t i = 0; i < leaderCount;) {
    if (leaders[i].group == id)
      leaders[i] = leaders[--leaderCount];
    else
      i++;
  }
}

void addLeader(uint64_t group, uint32_t pid) {
  if (leaderCount < kMaxLeaders) leaders[leaderCount++] = {group, pid};
}

/// @returns false: goodbye
bool obey(const char* line, const char* end) {
  if (end - line < 1) return true;
  if (line[0] == 'Q') return false;
  if (end - line < 3 || line[1] != ' ') return true;
  uint64_t id = 0;
  const char* rest = readNumber(line + 2, end, id);
  if (rest < end && *rest == ' ') rest++;
  if (line[0] == 'G') beginGroup(id, rest, static_cast<size_t>(end - rest));
  if (line[0] == 'C') guardian::addCgroup(id, rest, static_cast<size_t>(end - rest));
  if (line[0] == 'H') guardian::setHome(id, rest, static_cast<size_t>(end - rest));
  if (line[0] == 'L') guardian::setLeaf(rest, static_cast<size_t>(end - rest));
  if (line[0] == 'E') endGroup(id);
  if (line[0] == 'W') {
    uint64_t pid = 0;
    readNumber(rest, end, pid);
    if (pid > 1) addLeader(id, static_cast<uint32_t>(pid));
  }
  return true;
}

/// Reads lines until the agent says goodbye or is gone. @returns whether it's gone without one
bool listen() {
  static char line[2048];
  size_t held = 0;
  for (;;) {
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

// ------------------------------------------------------------------------------------------
// Who is left

struct Path {
  char text[48];
};

Path procPath(uint32_t pid, const char* file) {
  Path path;
  char* to = path.text;
  for (const char* from = "/proc/"; *from; from++) *to++ = *from;
  char digits[10];
  int count = 0;
  do {
    digits[count++] = static_cast<char>('0' + pid % 10);
  } while (pid /= 10);
  while (count > 0) *to++ = digits[--count];
  for (; *file; file++) *to++ = *file;
  *to = '\0';
  return path;
}

struct Stat {
  char state;
  uint64_t session;
  uint64_t startTick;
};

bool readStat(uint32_t pid, Stat& stat) {
  const Path path = procPath(pid, "/stat");
  const long fd = rawCall(SYS_openat, AT_FDCWD, pointer(path.text), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  static char text[1024];
  const long size = rawCall(SYS_read, fd, pointer(text), sizeof text);
  rawCall(SYS_close, fd);
  // The name before it is in parentheses, and may hold any.
  long at = size - 1;
  while (at > 0 && text[at] != ')') at--;
  if (at <= 0 || at + 2 >= size) return false;
  const char* const end = text + size;
  const char* field = text + at + 2;
  stat.state = *field;
  for (int number = 3; field < end && number <= 22; number++) {
    uint64_t value = 0;
    (void)readNumber(field, end, value);
    if (number == 6) stat.session = value;
    if (number == 22) stat.startTick = value;
    while (field < end && *field != ' ') field++;
    field++;
  }
  return field < end;
}

/// A session's number stays its leader's while anybody is in it, and the agent held the leader's
/// until it ended. So who was in it by then is ours. Numbers are given in turn: a stranger could
/// have this one only after tens of thousands of others, which takes longer than kReuseTicks.
bool isInSession(const Stat& stat) {
  if (stat.startTick > agentEndTick + kReuseTicks) return false;
  for (size_t i = 0; i < leaderCount; i++) {
    if (leaders[i].pid == stat.session) return true;
  }
  return false;
}

bool isCookie(const char* entry, size_t bytes) {
  if (bytes <= kCookieEntryBytes || !equal(entry, kCookieEntry, kCookieEntryBytes)) return false;
  for (const Group& group : groups) {
    if (group.live && group.cookieBytes == bytes - kCookieEntryBytes &&
        equal(group.cookie, entry + kCookieEntryBytes, group.cookieBytes))
      return true;
  }
  return false;
}

bool hasCookie(uint32_t pid) {
  const Path path = procPath(pid, "/environ");
  const long fd = rawCall(SYS_openat, AT_FDCWD, pointer(path.text), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;  // another user's, or gone
  char entry[kCookieEntryBytes + kMaxCookie];
  size_t held = 0;
  bool tooLong = false;
  bool found = false;
  long size = 0;
  for (size_t all = 0; !found && all < kMaxEnvironBytes; all += static_cast<size_t>(size)) {
    size = rawCall(SYS_read, fd, pointer(buffer), sizeof buffer);
    if (size <= 0) break;
    for (long i = 0; i < size && !found; i++) {
      if (buffer[i] != '\0') {
        if (held < sizeof entry)
          entry[held++] = buffer[i];
        else
          tooLong = true;
        continue;
      }
      found = !tooLong && isCookie(entry, held);
      held = 0;
      tooLong = false;
    }
  }
  rawCall(SYS_close, fd);
  return found;
}

bool isLeft(uint32_t pid) {
  // The dead have no environment any more.
  if (hasCookie(pid)) return true;
  Stat stat{};
  return readStat(pid, stat) && stat.state != 'Z' && stat.state != 'X' && isInSession(stat);
}

/// @returns whether there was something to kill
bool killIfLeft(uint32_t pid) {
  // First: should the pid change hands meanwhile, the signal goes to one that's dead, not to a
  // stranger.
  const long pidfd = rawCall(kSysPidfdOpen, pid, 0);
  const bool left = isLeft(pid);
  // Fallback: kernel < 5.3 has no pidfds. Its pid was right a moment ago.
  if (left && pidfd < 0) rawCall(SYS_kill, pid, SIGKILL);
  if (left && pidfd >= 0) rawCall(kSysPidfdSendSignal, pidfd, SIGKILL, 0, 0);
  if (pidfd >= 0) rawCall(SYS_close, pidfd);
  return left;
}

struct DirEntry {  // linux_dirent64
  uint64_t inode;
  int64_t offset;
  uint16_t bytes;
  uint8_t type;
  char name[];
};

/// @returns whether anybody was left
bool killAllLeft(uint32_t self) {
  const long proc = rawCall(SYS_openat, AT_FDCWD, pointer("/proc"), O_RDONLY | O_DIRECTORY);
  if (proc < 0) return false;
  bool any = false;
  long size;
  while ((size = rawCall(SYS_getdents64, proc, pointer(entries), sizeof entries)) > 0) {
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const DirEntry*>(entries + at);
      at += entry->bytes;
      uint64_t pid = 0;
      const char* const end = readNumber(entry->name, entry->name + 20, pid);
      if (*end != '\0' || pid <= 1 || pid == self) continue;
      any = killIfLeft(static_cast<uint32_t>(pid)) || any;
    }
  }
  rawCall(SYS_close, proc);
  return any;
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

timespec now(clockid_t clock) {
  timespec time{};
  rawCall(SYS_clock_gettime, clock, pointer(&time));
  return time;
}

bool anyGroup() {
  for (const Group& group : groups) {
    if (group.live) return true;
  }
  return false;
}

void avenge() {
  // Before those whom it kills; only root may ask for it.
  rawCall(SYS_setpriority, 0, 0, -20);
  const timespec boot = now(CLOCK_BOOTTIME);
  agentEndTick = static_cast<uint64_t>(boot.tv_sec) * kTicksPerSecond +
                 static_cast<uint64_t>(boot.tv_nsec) / (1'000'000'000 / kTicksPerSecond);
  const long until = now(CLOCK_MONOTONIC).tv_sec + kPatienceSeconds;
  const auto self = static_cast<uint32_t>(rawCall(SYS_getpid));
  timespec pause{0, 1'000'000};
  // Until none is found, twice: one may have forked while we looked, and one that's within execve
  // has no environment for a moment.
  for (int quiet = 0; quiet < 2 && now(CLOCK_MONOTONIC).tv_sec < until;) {
    const bool inCgroups = guardian::killCgroups();
    quiet = killAllLeft(self) || inCgroups || !guardian::removeCgroups() ? 0 : quiet + 1;
    rawCall(SYS_nanosleep, pointer(&pause), 0);
    if (pause.tv_nsec < 64'000'000) pause.tv_nsec *= 2;
  }
}

[[noreturn]] void run() {
  ignoreSignals();
  askToBeSpared();
  if (listen()) {
    if (anyGroup()) avenge();
    guardian::restoreHome();
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
