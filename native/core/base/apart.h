#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace regroup {

/// How long a visit may take before it's given up, and how long all of them.
struct VisitLimits {
  std::chrono::milliseconds each;
  std::chrono::milliseconds all;
};

/// Calls `visit(pid)` for one process after the other, on a thread of its own: for what may wait
/// for somebody else without bound, see proc.h.
///
/// A visit that doesn't come back is left behind with its thread, and the next process's turn
/// comes. As long as it's left so, calls like this one, of anybody here, pass over that process.
/// Such a thread ends with this process: its wait is one that SIGKILL ends.
///
/// `visit` must own what it touches, since it may come back when all else is gone.
/// Thread: any that may block for `limits.all`. @returns when all are visited, or given up
void visitApart(std::vector<pid_t> pids, std::function<void(pid_t)> visit, VisitLimits limits);

/// The same, for what each visit gives. Those that were given up are missing.
template <typename Answer>
std::map<pid_t, Answer> askApart(std::vector<pid_t> pids, std::function<Answer(pid_t)> ask,
                                 VisitLimits limits) {
  struct Answers {
    std::mutex mutex;
    std::map<pid_t, Answer> byPid;  // guarded by mutex: a late visit may still add to it
  };
  auto answers = std::make_shared<Answers>();
  visitApart(
      std::move(pids),
      [answers, ask = std::move(ask)](pid_t pid) {
        Answer answer = ask(pid);
        const std::lock_guard lock(answers->mutex);
        answers->byPid.insert_or_assign(pid, std::move(answer));
      },
      limits);
  const std::lock_guard lock(answers->mutex);
  return std::move(answers->byPid);
}

}  // namespace regroup
