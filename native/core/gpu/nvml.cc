#include "core/gpu/nvml.h"

#include <string.h>

#include <atomic>
#include <utility>

#include "core/base/fd.h"
#include "core/base/syscall.h"
#include "core/base/thread.h"
#include "core/gpu/nvml_calls.h"

namespace regroup {

namespace {

/// Threads that were left alone within the library. Of the whole process, like the library.
std::atomic<int> hanging{0};

/// What a query's two threads share.
///
/// Invariant: deleted by the last of the two that lets go of it.
struct Query {
  std::string library;
  Fd done;  // eventfd: the report is there
  NvmlReport report;
  std::atomic<const char*> step{"dlopen"};
  std::atomic<int> holders{2};
  /// Who comes second to the end of the limit, the asking thread or the library's.
  enum : int { kUnderWay, kAnswered, kLeft };
  std::atomic<int> end{kUnderWay};

  void release() {
    if (--holders == 0) delete this;
  }
};

/// Thread: its own.
void ask(Query* query) {
  query->report = readNvml(query->library, query->step);
  int expected = Query::kUnderWay;
  if (query->end.compare_exchange_strong(expected, Query::kAnswered)) {
    signalEvent(query->done);
  } else {
    hanging--;
  }
  query->release();
}

NvmlReport noThread(const Error& error) {
  return {{},
          NvmlTrouble{NvmlTrouble::Why::NoThread, error.op, error.code, ::strerror(error.code)}};
}

NvmlReport timedOut(const char* step) {
  return {{}, NvmlTrouble{NvmlTrouble::Why::TimedOut, step, 0, "the driver doesn't answer"}};
}

}  // namespace

NvmlReport queryNvml(const std::string& library, std::chrono::milliseconds limit) {
  if (hanging > 0) return timedOut("an earlier query");
  auto done = makeEventFd();
  if (!done) return noThread(done.error());

  auto* query = new Query;
  query->library = library;
  query->done = *std::move(done);
  auto thread = Thread::start([query] { ask(query); });
  if (!thread) {
    delete query;
    return noThread(thread.error());
  }
  (void)waitReadable(query->done, limit);
  int expected = Query::kUnderWay;
  // Counted before the other thread can see that it's been left.
  hanging++;
  NvmlReport report;
  if (query->end.compare_exchange_strong(expected, Query::kLeft)) {
    report = timedOut(query->step);
    thread->leave();
  } else {
    hanging--;
    thread->join();
    report = std::move(query->report);
  }
  query->release();
  return report;
}

}  // namespace regroup
