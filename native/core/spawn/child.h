#pragma once

#include "core/spawn/plan.h"

namespace regroup {

struct ChildTask {
  const SpawnPlan* plan;
  ChildReport* report;
};

/// From clone to execve. Never returns. `task`: a ChildTask.
/// Thread: child.
void runChild(void* task);

}  // namespace regroup
