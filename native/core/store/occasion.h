#pragma once

#include <chrono>

#include "core/shm/futex.h"

namespace regroup::store {

/// Something that happens once, and those who wait for it, though not for ever.
///
/// Thread: any.
class Occasion {
 public:
  void tell() {
    shm::set(happened_, 1);
    shm::futexWakeAll(happened_);
  }

  /// False: it took too long.
  bool wait(std::chrono::milliseconds atMost) const {
    const timespec deadline = shm::monotonicIn(static_cast<uint32_t>(atMost.count()));
    while (shm::load(happened_) == 0) {
      if (shm::isPast(deadline)) return false;
      (void)shm::futexWait(happened_, 0, deadline);
    }
    return true;
  }

 private:
  shm::Word32 happened_{0};
};

}  // namespace regroup::store
