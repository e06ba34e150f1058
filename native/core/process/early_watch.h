#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/fd.h"
#include "core/base/loop.h"
#include "core/base/mapping.h"
#include "core/base/result.h"
#include "core/base/thread.h"

namespace regroup {

/// The pages of one group's workers, and the threads that wait for the kernel's marks on them.
///
/// A mark says that a worker's main thread is ending, or that it has exec'd. So it's a hint, which
/// the one who's told must verify. Each worker gives one hint at most.
///
/// Owner: the group. Thread: its owner's.
class EarlyWatch {
 public:
  /// Called on a thread of ours.
  using OnHint = std::function<void(size_t index, TimePoint at)>;

  static Result<std::unique_ptr<EarlyWatch>> create(size_t workers);
  ~EarlyWatch();

  /// What worker `index` gets in its environment, as NAME=value.
  std::string variable(size_t index) const;

  /// From now on hints are told, also those that came before.
  /// @param many one thread waits for many words: futex_waitv, 5.16; else each word takes a thread
  Result<void> start(bool many, OnHint onHint);

 private:
  struct Slot {
    size_t index;
    uint32_t* word;
    uint32_t value;
    int chances;
  };

  EarlyWatch(Fd memfd, std::string identity, Mapping pages, size_t stride, size_t workers);
  uint32_t* wordOf(size_t index) const;
  void run(size_t first, size_t count);
  long wait(const std::vector<Slot>& slots) const;

  const Fd memfd_;
  const std::string identity_;  // the end of every worker's variable
  const Mapping pages_;
  const size_t stride_;
  const size_t workers_;
  bool many_ = false;
  OnHint onHint_;
  std::atomic<bool> stopping_{false};
  std::vector<Thread> threads_;
};

}  // namespace regroup
