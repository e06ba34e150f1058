#include "addon/convert_limits.h"

#include "addon/fields.h"

namespace regroup {

namespace {

/// The most CPUs that a kernel can be built for. Protects us from masks that would take all memory.
constexpr double kMaxCpu = 8191;
/// MAX_NUMNODES - 1, at its largest.
constexpr double kMaxNode = 1023;
/// @source Linux 6.18, kernel/sched/core.c, min_bw_quota_period_us
constexpr double kMinCpuQuotaUs = 1000;

constexpr Choice<MemoryPolicy::Mode> kModes[] = {
    {"bind", MemoryPolicy::Mode::Bind},
    {"preferred", MemoryPolicy::Mode::Preferred},
    {"interleave", MemoryPolicy::Mode::Interleave},
    {"local", MemoryPolicy::Mode::Local},
};

std::optional<MemoryPolicy> toMemoryPolicy(Napi::Value value, const std::string& what) {
  MemoryPolicy policy{};
  OptionReader options(value, what);
  options.required("mode", policy.mode, oneOf(kModes));
  options.required("nodes", policy.nodes, numbersTo(kMaxNode));
  if (policy.nodes.empty() != (policy.mode == MemoryPolicy::Mode::Local))
    options.refuse(".nodes must be empty for local, and for no other mode");
  if (!options.ok()) return std::nullopt;
  return policy;
}

void readBinding(OptionReader& options, Binding& binding) {
  options.optional("cpus", binding.cpus, numbersTo(kMaxCpu));
  options.optional("memoryPolicy", binding.memory, toMemoryPolicy);
  options.optional("optionalCpus", binding.optionalCpus, toBoolean);
  options.optional("optionalMemoryPolicy", binding.optionalMemory, toBoolean);
}

/// A number or `unlimited`.
std::optional<rlim_t> toLimit(Napi::Value value, const std::string& what) {
  if (!value.IsString()) return toInteger<rlim_t>(value, what, 0, kMaxSafeInteger);
  const auto word = toString(value, what);
  if (!word) return std::nullopt;
  if (*word != "unlimited") return typeError(value.Env(), what + " must be a number or unlimited");
  return RLIM_INFINITY;
}

std::optional<int> toResource(Napi::Value value, const std::string& what) {
  const auto name = toString(value, what);
  if (!name) return std::nullopt;
  const auto resource = resourceNamed(*name);
  if (!resource) return typeError(value.Env(), what + " must be a resource of prlimit(1)");
  return resource;
}

std::optional<ResourceLimit> toResourceLimit(Napi::Value value, const std::string& what) {
  int resource = 0;
  std::optional<rlim_t> soft;
  std::optional<rlim_t> hard;
  OptionReader options(value, what);
  options.required("name", resource, toResource);
  options.optional("soft", soft, toLimit);
  options.optional("hard", hard, toLimit);
  if (!options.ok()) return std::nullopt;
  return ResourceLimit{resource, soft.has_value(), hard.has_value(), soft.value_or(0),
                       hard.value_or(0)};
}

std::optional<std::vector<ResourceLimit>> toResourceLimits(Napi::Value value,
                                                           const std::string& what) {
  return toList<ResourceLimit>(value, what, toResourceLimit);
}

}  // namespace

void readLimits(OptionReader& options, Command& command) {
  readBinding(options, command.binding);
  Limits& limits = command.limits;
  options.optional("rlimits", limits.resources, toResourceLimits);
  options.optional("nice", limits.nice, integerOf<int>(-20, 19));
  options.optional("ioPriority", limits.ioPriority, integerOf<int>(0, 0xffff));
  options.optional("oomScoreAdj", limits.oomScoreAdj, integerOf<int>(-1000, 1000));
  options.optional("umask", limits.umask, integerOf<mode_t>(0, 0777));
}

void readUsageLimits(OptionReader& options, UsageLimits& limits) {
  const auto atLeast = [](double lowest) { return integerOf<uint64_t>(lowest, kMaxSafeInteger); };
  options.optional("memoryHigh", limits.memoryHigh, atLeast(1));
  options.optional("memoryMax", limits.memoryMax, atLeast(1));
  options.optional("pidsMax", limits.pidsMax, atLeast(1));
  options.optional("cpuQuotaUs", limits.cpuQuotaUs, atLeast(kMinCpuQuotaUs));
}

}  // namespace regroup
