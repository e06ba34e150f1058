#include "core/base/nofile.h"

#include <atomic>

namespace regroup {

namespace {

/// RLIM_INFINITY, which can't be raised: nobody did.
std::atomic<rlim_t> before = RLIM_INFINITY;

}  // namespace

void raiseNofile() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max) return;
  // First, since another thread may spawn as soon as it's raised.
  const rlim_t known = before.exchange(limit.rlim_cur);
  limit.rlim_cur = limit.rlim_max;
  // EPERM: fs.nr_open was lowered below the hard limit.
  if (::setrlimit(RLIMIT_NOFILE, &limit) < 0) before = known;
}

std::optional<rlim_t> nofileBeforeRaise() {
  const rlim_t soft = before;
  return soft == RLIM_INFINITY ? std::nullopt : std::optional(soft);
}

void setNofileBeforeRaise(rlim_t soft) { before = soft; }

}  // namespace regroup
