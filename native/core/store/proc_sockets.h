#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/store/refusals.h"

/// Whose a socket is, by /proc. What's read there may wait for its owner, as long as that hangs in
/// the kernel: never on a thread that anybody waits for without a bound.
namespace regroup::store {

/// Looks for unconnected TCP sockets of these processes, and of what they have started, that are in
/// the calling thread's network. Each of them is ours, too, for some microseconds.
///
/// Thread: any that may be kept waiting by another process.
Owners findOwners(const std::vector<pid_t>& pids);

/// Whether cookies of other processes' sockets can be had at all, as far as that can be told
/// without another process. The kernel has pidfd_getfd(2) from 5.6 on, and Docker's usual filter
/// hides it.
Result<void> probeCookies();

struct PortHolder {
  pid_t pid = 0;
  std::string command;
};

/// Who listens at a TCP port, as far as we may see, and as it's found within `limit`. The search is
/// left behind then.
///
/// Thread: any.
std::optional<PortHolder> findPortHolder(uint16_t port, std::chrono::milliseconds limit);

}  // namespace regroup::store
