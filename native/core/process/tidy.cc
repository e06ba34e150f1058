#include "core/process/tidy.h"

#include <algorithm>

namespace regroup::tidy {

Decision decide(const Left& left, const Plan& plan, TimePoint now) {
  if (now >= plan.killAllAt()) return {Order::Kill, now};
  // Its parent goes first; then it may end by itself.
  if (!left.orphanedAt) return {Order::Nothing, plan.killAllAt()};

  // Loaders have nothing to write: they're forks that wait for their worker.
  const bool atOnce = left.isLoader && plan.loadersAtOnce;
  const TimePoint due = atOnce ? *left.orphanedAt : *left.orphanedAt + kQuiet;
  if (now < due) return {Order::Nothing, std::min(due, plan.killAllAt())};
  if (now >= plan.killAt) return {Order::Kill, plan.killAllAt()};
  if (!plan.terms || left.wasTermed) return {Order::Nothing, plan.killAt};
  if (!atOnce && left.isBusy && now < plan.busyUntil)
    return {Order::Nothing, std::min(now + kBusyPause, plan.killAt)};
  return {Order::Term, plan.killAt};
}

}  // namespace regroup::tidy
