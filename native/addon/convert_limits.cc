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

std::optional<MemoryPolicy> toMemoryPolicy(Napi::Value value, const std::string& what) {
  auto object = toObject(value, what);
  if (!object) return std::nullopt;
  auto name = toString(get(*object, "mode"), what + ".mode");
  if (!name) return std::nullopt;
  auto nodes = toNumbers(get(*object, "nodes"), what + ".nodes", kMaxNode);
  if (!nodes) return std::nullopt;

  const std::pair<const char*, MemoryPolicy::Mode> modes[] = {
      {"bind", MemoryPolicy::Mode::Bind},
      {"preferred", MemoryPolicy::Mode::Preferred},
      {"interleave", MemoryPolicy::Mode::Interleave},
      {"local", MemoryPolicy::Mode::Local},
  };
  for (const auto& [known, mode] : modes) {
    if (*name != known) continue;
    if (nodes->empty() != (mode == MemoryPolicy::Mode::Local))
      return typeError(value.Env(), what + ".nodes must be empty for local, and for no other mode");
    return MemoryPolicy{mode, *std::move(nodes)};
  }
  return typeError(value.Env(), what + ".mode must be bind, preferred, interleave or local");
}

/// @returns false with an exception pending
bool readFlag(Napi::Object object, const char* name, const std::string& what, bool& target) {
  const Napi::Value value = get(object, name);
  if (object.Env().IsExceptionPending()) return false;
  if (value.IsUndefined()) return true;
  if (!value.IsBoolean()) {
    (void)typeError(object.Env(), what + "." + name + " must be true or false");
    return false;
  }
  target = value.As<Napi::Boolean>().Value();
  return true;
}

bool readBinding(Napi::Object object, const std::string& what, Binding& binding) {
  Napi::Env env = object.Env();
  const Napi::Value cpus = get(object, "cpus");
  if (env.IsExceptionPending()) return false;
  if (!cpus.IsUndefined()) {
    binding.cpus = toNumbers(cpus, what + ".cpus", kMaxCpu);
    if (!binding.cpus) return false;
  }
  const Napi::Value memory = get(object, "memoryPolicy");
  if (env.IsExceptionPending()) return false;
  if (!memory.IsUndefined()) {
    binding.memory = toMemoryPolicy(memory, what + ".memoryPolicy");
    if (!binding.memory) return false;
  }
  return readFlag(object, "optionalCpus", what, binding.optionalCpus) &&
         readFlag(object, "optionalMemoryPolicy", what, binding.optionalMemory);
}

/// @returns false with an exception pending
template <typename Integer>
bool readInteger(Napi::Object object, const char* name, const std::string& what, double lowest,
                 double highest, std::optional<Integer>& target) {
  const Napi::Value value = get(object, name);
  if (object.Env().IsExceptionPending()) return false;
  if (value.IsUndefined()) return true;
  auto number = toNumber(value, what + "." + name, lowest, highest, true);
  if (!number) return false;
  target = static_cast<Integer>(*number);
  return true;
}

/// A number or `unlimited`.
bool readLimit(Napi::Object object, const char* name, const std::string& what, bool& sets,
               rlim_t& target) {
  const Napi::Value value = get(object, name);
  if (object.Env().IsExceptionPending()) return false;
  if (value.IsUndefined()) return true;
  sets = true;
  if (value.IsString()) {
    auto word = toString(value, what + "." + name);
    if (!word) return false;
    target = RLIM_INFINITY;
    if (*word == "unlimited") return true;
    (void)typeError(object.Env(), what + "." + name + " must be a number or unlimited");
    return false;
  }
  auto number = toNumber(value, what + "." + name, 0, kMaxSafeInteger, true);
  if (!number) return false;
  target = static_cast<rlim_t>(*number);
  return true;
}

bool readResources(Napi::Object object, const std::string& what,
                   std::vector<ResourceLimit>& resources) {
  Napi::Env env = object.Env();
  const Napi::Value value = get(object, "rlimits");
  if (env.IsExceptionPending()) return false;
  if (value.IsUndefined()) return true;
  if (!value.IsArray()) {
    (void)typeError(env, what + ".rlimits must be an array");
    return false;
  }
  const Napi::Array array = value.As<Napi::Array>();
  const uint32_t length = array.Length();
  for (uint32_t i = 0; i < length; i++) {
    Napi::HandleScope scope(env);
    const std::string item = what + ".rlimits[" + std::to_string(i) + "]";
    const Napi::Value each = array.Get(i);
    if (env.IsExceptionPending()) return false;
    auto entry = toObject(each, item);
    if (!entry) return false;
    auto name = toString(get(*entry, "name"), item + ".name");
    if (!name) return false;
    const auto resource = resourceNamed(*name);
    if (!resource) {
      (void)typeError(env, item + ".name must be a resource of prlimit(1)");
      return false;
    }
    ResourceLimit limit{*resource, false, false, 0, 0};
    if (!readLimit(*entry, "soft", item, limit.setsSoft, limit.soft) ||
        !readLimit(*entry, "hard", item, limit.setsHard, limit.hard))
      return false;
    resources.push_back(limit);
  }
  return true;
}

bool readUsage(Napi::Object object, const std::string& what, Limits& limits) {
  if (!readResources(object, what, limits.resources)) return false;
  std::optional<int> umask;
  if (!readInteger(object, "nice", what, -20, 19, limits.nice) ||
      !readInteger(object, "ioPriority", what, 0, 0xffff, limits.ioPriority) ||
      !readInteger(object, "oomScoreAdj", what, -1000, 1000, limits.oomScoreAdj) ||
      !readInteger(object, "umask", what, 0, 0777, umask))
    return false;
  if (umask) limits.umask = static_cast<mode_t>(*umask);
  return true;
}

}  // namespace

bool readLimits(Napi::Object object, const std::string& what, Command& command) {
  return readBinding(object, what, command.binding) && readUsage(object, what, command.limits);
}

bool readUsageLimits(Napi::Object object, const std::string& what, UsageLimits& limits) {
  const auto read = [&](const char* name, double lowest, std::optional<uint64_t>& target) {
    return readInteger(object, name, what, lowest, kMaxSafeInteger, target);
  };
  return read("memoryHigh", 1, limits.memoryHigh) && read("memoryMax", 1, limits.memoryMax) &&
         read("pidsMax", 1, limits.pidsMax) &&
         read("cpuQuotaUs", kMinCpuQuotaUs, limits.cpuQuotaUs);
}

}  // namespace regroup
