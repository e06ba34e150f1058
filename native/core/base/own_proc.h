#pragma once

#include <sys/types.h>

#include <string_view>

namespace regroup {

/// Whether /proc speaks of our pid namespace, so that a pid of ours names the same process there.
/// In a namespace made without a /proc of its own (`unshare --pid --fork`, `nsenter --pid`) it's
/// the parent's, where the number belongs to a stranger. /proc/self is us in either.
///
/// Costs some 20 µs, and waits for nobody. Thread: any.
bool procIsOurs();

/// Whether a /proc/self/status is that of process `pid`, and of a /proc of its own namespace.
/// Equal numbers alone prove nothing: both namespaces may have counted as far.
bool isOwnStatus(std::string_view status, pid_t pid);

}  // namespace regroup
