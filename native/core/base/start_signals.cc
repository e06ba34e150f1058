#include "core/base/start_signals.h"

#include <signal.h>

#include <atomic>

#include "core/base/syscall.h"

namespace regroup {

namespace {

std::atomic<uint64_t> ignored = 0;
std::atomic<uint64_t> blocked = 0;

/// SIGCHLD ignored would take our children's statuses away. The others are raised by faults, by
/// V8's profiler, or can't be ignored.
constexpr uint64_t kNeeded = signalBit(SIGCHLD) | signalBit(SIGILL) | signalBit(SIGTRAP) |
                             signalBit(SIGABRT) | signalBit(SIGBUS) | signalBit(SIGFPE) |
                             signalBit(SIGSEGV) | signalBit(SIGSYS) | signalBit(SIGPROF) |
                             signalBit(SIGKILL) | signalBit(SIGSTOP);

}  // namespace

StartSignals startSignals() {
  return {ignored, blocked};
}

void setStartSignals(const StartSignals& signals) {
  ignored = signals.ignored & ~signalBit(SIGTERM);
  blocked = signals.blocked & ~signalBit(SIGTERM);
}

void ignoreAgain(uint64_t signals) {
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  // libc keeps the first two real-time signals to itself, and says EINVAL.
  for (int signal = 1; signal <= 64; signal++) {
    if (signals & ~kNeeded & signalBit(signal)) (void)::sigaction(signal, &ignore, nullptr);
  }
}

}  // namespace regroup
