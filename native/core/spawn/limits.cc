#include "core/spawn/limits.h"

#include <utility>

namespace regroup {

namespace {

struct ResourceName {
  std::string_view name;
  int resource;
};

/// @source util-linux 2.38, sys-utils/prlimit.c, prlimit_desc
constexpr ResourceName kResources[] = {
    {"as", RLIMIT_AS},           {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},       {"fsize", RLIMIT_FSIZE},       {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},   {"nproc", RLIMIT_NPROC},       {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},     {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK},
};

std::string toText(rlim_t value) {
  return value == RLIM_INFINITY ? "unlimited" : std::to_string(value);
}

}  // namespace

PreparedLimits::PreparedLimits(Limits limits) : limits_(std::move(limits)) {
  if (limits_.oomScoreAdj) oomScoreAdj_ = std::to_string(*limits_.oomScoreAdj);
}

LimitCalls PreparedLimits::calls() const {
  LimitCalls calls{};
  calls.resources = limits_.resources.data();
  calls.resourceCount = static_cast<int>(limits_.resources.size());
  calls.nice = limits_.nice ? &*limits_.nice : nullptr;
  calls.ioPriority = limits_.ioPriority ? &*limits_.ioPriority : nullptr;
  calls.oomScoreAdj = limits_.oomScoreAdj ? oomScoreAdj_.c_str() : nullptr;
  calls.oomScoreAdjBytes = static_cast<long>(oomScoreAdj_.size());
  calls.umask = limits_.umask ? &*limits_.umask : nullptr;
  return calls;
}

std::optional<int> resourceNamed(std::string_view name) {
  for (const ResourceName& each : kResources) {
    if (each.name == name) return each.resource;
  }
  return std::nullopt;
}

std::string describe(const ResourceLimit& limit) {
  std::string text;
  for (const ResourceName& each : kResources) {
    if (each.resource == limit.resource) text = each.name;
  }
  text.append("=").append(limit.setsSoft ? toText(limit.soft) : "");
  if (limit.setsHard) text.append(":").append(toText(limit.hard));
  rlimit ours{};
  // As the child saw it: nothing has changed it in between but another's prlimit.
  if (::getrlimit(static_cast<__rlimit_resource_t>(limit.resource), &ours) == 0)
    text += ", where the hard limit is " + toText(ours.rlim_max);
  return text;
}

}  // namespace regroup
