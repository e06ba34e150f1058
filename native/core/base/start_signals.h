#pragma once

#include <cstdint>

namespace regroup {

/// Signals as bit masks (bit 0 is signal 1).
struct StartSignals {
  uint64_t ignored = 0;
  uint64_t blocked = 0;
};

/// What whoever started this process has chosen about signals and the host has reset since: Node
/// does so at its start. Workers start with it, but for SIGTERM, by which they're asked to end.
/// None where nobody has told. The choice is the process's, and so is this.
///
/// Thread: any.
StartSignals startSignals();
void setStartSignals(const StartSignals& signals);

/// Ignores them in this process again, save for those that a host needs, or that a fault of its own
/// raises. Whatever it sets up later wins.
///
/// Thread: any.
void ignoreAgain(uint64_t signals);

}  // namespace regroup
