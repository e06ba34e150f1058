#include "core/base/thread.h"

#include <dlfcn.h>
#include <signal.h>

#include <atomic>
#include <memory>
#include <vector>

#include "core/base/old_symbols.h"
#include "core/base/syscall.h"

REGROUP_OLD_SYMBOL(dladdr);
REGROUP_OLD_SYMBOL(dlopen);
REGROUP_OLD_SYMBOL(pthread_create);
REGROUP_OLD_SYMBOL(pthread_join);
REGROUP_OLD_SYMBOL(pthread_detach);

namespace regroup {

namespace {

/// Signals that still reach our threads. A fault of our own must end in the host's handler or a
/// core dump, not in silence; for glibc's own two, 32 and 33, setuid(2) waits in every thread.
constexpr uint64_t kKept = signalBit(SIGSEGV) | signalBit(SIGBUS) | signalBit(SIGFPE) |
                           signalBit(SIGILL) | signalBit(SIGTRAP) | signalBit(SIGABRT) |
                           signalBit(SIGSYS) | signalBit(32) | signalBit(33);

void* run(void* raw) {
  const std::unique_ptr<std::function<void()>> body(static_cast<std::function<void()>*>(raw));
  (*body)();
  return nullptr;
}

}  // namespace

Result<void> probeThreads(size_t count) {
  std::atomic<bool> mayEnd{false};
  std::vector<Thread> threads;
  Result<void> had;
  while (threads.size() < count && had) {
    auto thread = Thread::start([&] { mayEnd.wait(false); });
    if (thread) {
      threads.push_back(*std::move(thread));
    } else {
      had = thread.error();
    }
  }
  mayEnd = true;
  mayEnd.notify_all();
  for (Thread& thread : threads) thread.join();
  return had;
}

Result<Thread> Thread::start(std::function<void()> body) {
  auto owned = std::make_unique<std::function<void()>>(std::move(body));
  SignalBlock block(kKept);  // inherited by the new thread
  pthread_t handle;
  const int error = ::pthread_create(&handle, nullptr, run, owned.get());
  if (error != 0) return Error{"pthread_create", error};
  (void)owned.release();  // run() has it
  return Thread(handle);
}

void Thread::join() {
  ::pthread_join(handle_, nullptr);
  joinable_ = false;
}

void Thread::leave() {
  stayLoaded();
  ::pthread_detach(handle_);
  joinable_ = false;
}

void stayLoaded() {
  static std::atomic<bool> done{false};
  if (done.exchange(true)) return;
  Dl_info self;
  if (::dladdr(reinterpret_cast<void*>(&stayLoaded), &self) == 0) return;
  (void)::dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

}  // namespace regroup
