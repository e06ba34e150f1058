#include "guardian/search.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "guardian/groups.h"
#include "guardian/proc.h"

using regroup::rawCall;

namespace guardian {

namespace {

constexpr size_t kMaxEnvironBytes = 8 << 20;
/// A process that holds up its reader for longer is passed over in this search.
constexpr long kPatienceNs = 100'000'000;
/// More searching processes than this are never left hanging at once, deaf to SIGKILL.
constexpr size_t kMaxLeftBehind = 64;
/// In one search, which would else take minutes.
constexpr size_t kMaxHangs = 256;

/// What the searching process tells us as it goes on.
struct Board {
  volatile uint32_t visits;  // that were begun
  volatile uint32_t at;      // the process of the last one
  volatile bool found;
};
Board* board = nullptr;

uint32_t leftBehind[kMaxLeftBehind];
size_t leftCount = 0;
/// The last process that this search has passed over; /proc lists them by their numbers.
uint32_t passedOver = 0;
/// In our only process nothing is read that may wait.
bool mayWait = true;
bool hasSeenAll = false;

/// Those that weren't held up for ever are gone once they were killed; they don't count.
void forgetGone() {
  for (size_t i = 0; i < leftCount;) {
    if (rawCall(SYS_kill, leftBehind[i], 0) == -kNoProcess)
      leftBehind[i] = leftBehind[--leftCount];
    else
      i++;
  }
}

void beginVisit(uint32_t pid) {
  board->at = pid;
  board->visits = board->visits + 1;
}

bool hasCookie(const Path& environment) {
  const long fd = rawCall(SYS_openat, AT_FDCWD, pointer(environment.text), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;  // another user's, or gone
  static char buffer[64 << 10];
  char entry[kMaxCookieEntry];
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

/// Of one whose first thread has ended the others show the environment.
bool anyThreadHasCookie(uint32_t pid) {
  bool found = false;
  eachNumber(procPath(pid, "task").text, [&](uint32_t thread) {
    found = found || (thread != pid && hasCookie(procPath(pid, thread, "environ")));
  });
  return found;
}

bool isLeft(uint32_t pid) {
  const long session = rawCall(SYS_getsid, pid);
  // Gone, or of the kernel.
  if (session < 0 || (session == 0 && !agentHasNoSession())) return false;
  Status status;
  if (!readStatus(pid, status) || status.state == 'X') return false;
  const bool headless = status.state == 'Z';
  if (headless && status.threads <= 1) return false;
  if (mayWait) beginVisit(pid);
  if (isOurs(static_cast<uint64_t>(session), pid)) return true;
  if (!mayWait || !mayLookInto(pid)) return false;
  return headless ? anyThreadHasCookie(pid) : hasCookie(procPath(pid, "environ"));
}

void visit(uint32_t pid, bool kill) {
  // First: should the pid change hands meanwhile, the signal goes to one that's dead, not to a
  // stranger.
  const long pidfd = rawCall(kSysPidfdOpen, pid, 0);
  if (isLeft(pid)) {
    board->found = true;
    // Fallback: kernel < 5.3 has no pidfds. Its pid was right a moment ago.
    if (kill && pidfd < 0) rawCall(SYS_kill, pid, SIGKILL);
    if (kill && pidfd >= 0) rawCall(kSysPidfdSendSignal, pidfd, SIGKILL, 0, 0);
  }
  if (pidfd >= 0) rawCall(SYS_close, pidfd);
}

void visitAll(uint32_t guardian, bool kill) {
  const auto self = static_cast<uint32_t>(rawCall(SYS_getpid));
  eachNumber("/proc", [&](uint32_t pid) {
    if (pid > 1 && pid > passedOver && pid != self && pid != guardian) visit(pid, kill);
  });
}

/// Waits for a pipe's other end to be closed, for a while.
bool isClosed(long pipe) {
  pollfd poll{static_cast<int>(pipe), POLLIN, 0};
  timespec patience{0, kPatienceNs};
  return rawCall(SYS_ppoll, pointer(&poll), 1, pointer(&patience), 0, 0) != 0;
}

/// Whether it waits for something: one that only isn't given the processor gets on some time.
bool isAsleep(uint32_t pid) {
  Status status;
  return readStatus(pid, status) && status.state != 'R';
}

/// By another process. @returns false: it hangs
bool searchApart(bool kill) {
  int ends[2];
  const auto self = static_cast<uint32_t>(rawCall(SYS_getpid));
  const bool hasPipe = rawCall(SYS_pipe2, pointer(ends), O_CLOEXEC) == 0;
  // A plain fork. Its status is nobody's: we ignore SIGCHLD.
  const long child = hasPipe ? rawCall(SYS_clone, SIGCHLD) : -1;
  if (child == 0) {
    rawCall(SYS_close, ends[0]);
    visitAll(self, kill);
    for (;;) rawCall(SYS_exit_group, 0);
  }
  if (hasPipe) rawCall(SYS_close, ends[1]);
  if (child < 0) {
    if (hasPipe) rawCall(SYS_close, ends[0]);
    // No process can be had, maybe because of those whom we look for: their sessions tell of most.
    mayWait = false;
    visitAll(self, kill);
    mayWait = true;
    board->found = true;  // as far as we know
    return true;
  }

  uint32_t visits;
  bool isOver;
  do {
    visits = board->visits;
    isOver = isClosed(ends[0]);
  } while (!isOver && (visits != board->visits || !isAsleep(static_cast<uint32_t>(child))));
  rawCall(SYS_close, ends[0]);
  if (isOver) return true;
  passedOver = board->at;
  leftBehind[leftCount++] = static_cast<uint32_t>(child);
  rawCall(SYS_kill, child, SIGKILL);
  return false;
}

bool search(bool kill) {
  hasSeenAll = false;
  if (!procIsOurs()) return false;
  if (board == nullptr) {
    const long page = rawCall(SYS_mmap, 0, sizeof(Board), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page < 0 && page > -4096) return true;  // there's no memory at this moment
    board = reinterpret_cast<Board*>(page);
  }
  board->found = false;
  board->at = 0;
  passedOver = 0;
  bool isOver = false;
  size_t hangs = 0;
  while (hangs < kMaxHangs && leftCount < kMaxLeftBehind && !(isOver = searchApart(kill))) {
    hangs++;
    forgetGone();
  }
  hasSeenAll = isOver && hangs == 0;
  return board->found;
}

}  // namespace

bool killLeft() {
  return search(true);
}

bool anyLeft() {
  return search(false);
}

bool sawAll() {
  return hasSeenAll;
}

}  // namespace guardian
