#include "core/base/own_proc.h"

#include <unistd.h>

#include <optional>
#include <string>

#include "core/base/proc.h"
#include "core/base/syscall.h"

namespace regroup {

namespace {

/// What's behind `NAME:` and a tab.
std::optional<std::string_view> fieldOf(std::string_view status, std::string_view name) {
  const std::string label = std::string(1, '\n').append(name).append(":\t");
  const size_t at = status.find(label);
  if (at == std::string_view::npos) return std::nullopt;
  status.remove_prefix(at + label.size());
  return status.substr(0, status.find('\n'));
}

}  // namespace

bool isOwnStatus(std::string_view status, pid_t pid) {
  const std::string number = std::to_string(pid);
  if (fieldOf(status, "Pid") != number) return false;
  // One number for each namespace from /proc's down to ours. Fallback: kernels without
  // CONFIG_PID_NS have neither the field nor namespaces.
  const auto numbers = fieldOf(status, "NSpid");
  return !numbers || *numbers == number;
}

bool procIsOurs() {
  auto status = readFile("/proc/self/status", kMaxStatusBytes);
  return status && isOwnStatus(*status, ::getpid());
}

}  // namespace regroup
