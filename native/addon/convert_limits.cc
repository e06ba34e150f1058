#include "addon/convert_limits.h"

#include "addon/fields.h"

namespace regroup {

namespace {

/// The most CPUs that a kernel can be built for. Protects us from masks that would take all memory.
constexpr double kMaxCpu = 8191;
/// MAX_NUMNODES - 1, at its largest.
constexpr double kMaxNode = 1023;

std::optional<std::vector<uint32_t>> toNumbers(Napi::Value value, const std::string& what,
                                               double highest) {
  Napi::Env env = value.Env();
  if (env.IsExceptionPending()) return std::nullopt;
  if (!value.IsArray()) return typeError(env, what + " must be an array of integers");
  const Napi::Array array = value.As<Napi::Array>();
  const uint32_t length = array.Length();
  std::vector<uint32_t> numbers;
  for (uint32_t i = 0; i < length; i++) {
    Napi::HandleScope scope(env);
    const Napi::Value item = array.Get(i);
    if (env.IsExceptionPending()) return std::nullopt;
    auto number = toNumber(item, what + "[" + std::to_string(i) + "]", 0, highest, true);
    if (!number) return std::nullopt;
    numbers.push_back(static_cast<uint32_t>(*number));
  }
  return numbers;
}

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
  const Napi::Value optional = get(object, "optionalBinding");
  if (env.IsExceptionPending()) return false;
  if (optional.IsUndefined()) return true;
  if (!optional.IsBoolean()) {
    (void)typeError(env, what + ".optionalBinding must be true or false");
    return false;
  }
  binding.optional = optional.As<Napi::Boolean>().Value();
  return true;
}

}  // namespace

bool readLimits(Napi::Object object, const std::string& what, Command& command) {
  return readBinding(object, what, command.binding);
}

}  // namespace regroup
