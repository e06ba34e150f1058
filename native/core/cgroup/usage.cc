#include "core/cgroup/usage.h"

#include <charconv>

#include "core/base/split.h"

namespace regroup {

Controllers controllersOf(const UsageLimits& limits) {
  Controllers controllers = 0;
  if (limits.memoryHigh || limits.memoryMax) controllers |= kMemory;
  if (limits.pidsMax) controllers |= kPids;
  if (limits.cpuQuotaUs) controllers |= kCpu;
  return controllers;
}

const char* nameOf(Controllers one) {
  if (one == kMemory) return "memory";
  return one == kPids ? "pids" : "cpu";
}

std::optional<uint64_t> numberIn(std::string_view text) {
  uint64_t number = 0;
  const auto [to, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  return number;
}

std::optional<uint64_t> countOf(std::string_view text, std::string_view key) {
  for (const std::string_view line : split(text, '\n')) {
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ' ')
      return numberIn(line.substr(key.size() + 1));
  }
  return std::nullopt;
}

std::optional<double> pressureOf(std::string_view text) {
  constexpr std::string_view kKey = "some avg10=";
  if (!text.starts_with(kKey)) return std::nullopt;
  // `12.34`; from_chars for doubles is younger than our libstdc++ has to be.
  double percent = 0;
  double unit = 0;
  for (const char c : text.substr(kKey.size())) {
    if (c == '.' && unit == 0) {
      unit = 1;
      continue;
    }
    if (c < '0' || c > '9') break;
    percent = percent * 10 + (c - '0');
    unit *= 10;
  }
  return unit > 1 ? percent / unit : percent;
}

}  // namespace regroup
