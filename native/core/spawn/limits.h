#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace regroup {

/// One resource limit, to be set where it's asked for and else left as it is.
struct ResourceLimit {
  int resource;  // RLIMIT_…
  bool setsSoft;
  bool setsHard;
  rlim_t soft;
  rlim_t hard;
};
static_assert(std::is_trivially_destructible_v<ResourceLimit>);

/// What a worker may use, and how it's treated. Absent: as ours.
struct Limits {
  std::vector<ResourceLimit> resources;
  std::optional<int> nice;
  std::optional<int> ioPriority;  // class << 13 | level, of ioprio_set(2)
  std::optional<int> oomScoreAdj;
  std::optional<mode_t> umask;
};

/// What the child hands to the kernel: pointers into a PreparedLimits. Null: nothing.
struct LimitCalls {
  const ResourceLimit* resources;
  int resourceCount;
  const int* nice;
  const int* ioPriority;
  const char* oomScoreAdj;
  long oomScoreAdjBytes;
  const mode_t* umask;
};
static_assert(std::is_trivially_destructible_v<LimitCalls>);

/// Owns what LimitCalls point to.
class PreparedLimits {
 public:
  PreparedLimits() = default;
  explicit PreparedLimits(Limits limits);

  LimitCalls calls() const;

 private:
  Limits limits_;
  std::string oomScoreAdj_;
};

/// RLIMIT_… of a name as prlimit(1) spells it.
std::optional<int> resourceNamed(std::string_view name);

/// For people: what was asked for, and the hard limit that is in its way.
std::string describe(const ResourceLimit& limit);

}  // namespace regroup
