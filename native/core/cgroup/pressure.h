#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/result.h"

namespace regroup {

/// Tells when tasks wait for memory, as the kernel sees it (PSI, 5.2): not by looking, but by a
/// trigger, which wakes nobody as long as there's no pressure.
///
/// Files of a cgroup may keep whoever opens or writes them waiting, so all is done on a thread of
/// its own, which nobody waits for.
///
/// Thread: any; `onPressure` is called on its own, also once more while this is destroyed.
class PressureWatch {
 public:
  /// @param paths `memory.pressure` of cgroups, /proc/pressure/memory. Those that aren't there, or
  ///   take no trigger of ours, are left away
  /// @param trigger as the kernel takes it: `some 300000 2000000`, in microseconds
  static Result<std::unique_ptr<PressureWatch>> start(std::vector<std::string> paths,
                                                      std::string trigger,
                                                      std::function<void()> onPressure);
  ~PressureWatch();
  PressureWatch(const PressureWatch&) = delete;
  PressureWatch& operator=(const PressureWatch&) = delete;

 private:
  struct State;
  explicit PressureWatch(std::shared_ptr<State> state) : state_(std::move(state)) {}
  const std::shared_ptr<State> state_;
};

}  // namespace regroup
