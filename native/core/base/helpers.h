#pragma once

#include <functional>
#include <memory>

#include "core/base/result.h"

namespace regroup {

/// Threads for calls that somebody else can hold up for good: opening, writing, reading and closing
/// files, whose disk may be dead.
///
/// A few of them work at a time. One whose task has lasted long counts as stuck, and another takes
/// its place: a task that never returns costs the others a moment, once.
///
/// Owner: shared by those who post, none of which may be a task. When the last one lets go, what
/// was posted is still done, but a thread that's stuck isn't waited for: a task owns what it uses.
/// Thread: any.
class Helpers {
 public:
  /// Runs on a thread of ours; true: once more, in turn with the others.
  using Task = std::function<bool()>;

  Helpers();
  ~Helpers();
  Helpers(const Helpers&) = delete;
  Helpers& operator=(const Helpers&) = delete;

  /// Makes sure of a thread. Where none can be had (pids.max), tasks would wait for ever.
  Result<void> prepare();
  /// In the order of the calls, as far as threads are free.
  void post(Task task);

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace regroup
