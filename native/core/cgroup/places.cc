#include "core/cgroup/places.h"

#include <optional>

#include "core/base/split.h"
#include "core/base/syscall.h"

namespace regroup {

namespace {

/// Bounds what a machine with very many mounts makes us read.
constexpr size_t kMaxProcBytes = 4 * 1024 * 1024;

bool contains(std::string_view list, std::string_view word) {
  for (const std::string_view each : split(list, ',')) {
    if (each == word) return true;
  }
  return false;
}

/// The kernel writes blanks and backslashes of a path as \ooo.
std::string unescape(std::string_view path) {
  std::string plain;
  const auto digit = [&](size_t at) {
    return at < path.size() && path[at] >= '0' && path[at] <= '7';
  };
  for (size_t i = 0; i < path.size(); i++) {
    if (path[i] != '\\' || !digit(i + 1) || !digit(i + 2) || !digit(i + 3)) {
      plain.push_back(path[i]);
      continue;
    }
    plain.push_back(static_cast<char>((path[i + 1] - '0') * 64 + (path[i + 2] - '0') * 8 +
                                      (path[i + 3] - '0')));
    i += 3;
  }
  return plain;
}

/// Our cgroup's path in the hierarchy with this controller; "" is version 2.
std::optional<std::string_view> pathOf(std::string_view selfCgroup, std::string_view controller) {
  for (const std::string_view line : split(selfCgroup, '\n')) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const std::string_view names = line.substr(first + 1, second - first - 1);
    const bool here = controller.empty() ? line.substr(0, first) == "0" && names.empty()
                                         : contains(names, controller);
    if (here) return line.substr(second + 1);
  }
  return std::nullopt;
}

/// A mount may show a part of the hierarchy only: a container's, whose root isn't "/".
std::string folderOf(const std::string& root, const std::string& point, std::string_view path) {
  // "/..": outside of our namespace.
  if (path.starts_with("/..")) return {};
  if (root != "/") {
    if (!path.starts_with(root) || (path.size() > root.size() && path[root.size()] != '/'))
      return {};
    path.remove_prefix(root.size());
  }
  return path == "/" ? point : point + std::string(path);
}

}  // namespace

CgroupPlaces parseCgroupPlaces(std::string_view mountInfo, std::string_view selfCgroup) {
  CgroupPlaces places;
  const auto find = [&](std::string& place, const std::string& root, const std::string& point,
                        std::string_view controller) {
    if (!place.empty()) return;
    if (const auto path = pathOf(selfCgroup, controller)) place = folderOf(root, point, *path);
  };
  for (const std::string_view line : split(mountInfo, '\n')) {
    const size_t dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    const auto left = split(line.substr(0, dash), ' ');
    const auto right = split(line.substr(dash + 3), ' ');
    if (left.size() < 5 || right.size() < 3) continue;
    const std::string root = unescape(left[3]);
    const std::string point = unescape(left[4]);
    if (right[0] == "cgroup2") find(places.unified, root, point, "");
    if (right[0] != "cgroup") continue;
    if (contains(right[2], "freezer")) find(places.freezer, root, point, "freezer");
    if (contains(right[2], "memory")) find(places.memory, root, point, "memory");
    if (contains(right[2], "pids")) find(places.pids, root, point, "pids");
    if (contains(right[2], "cpu")) find(places.cpu, root, point, "cpu");
  }
  return places;
}

CgroupPlaces findCgroupPlaces() {
  auto mounts = readFile("/proc/self/mountinfo", kMaxProcBytes);
  auto self = readFile("/proc/self/cgroup", kMaxProcBytes);
  if (!mounts || !self) return {};
  return parseCgroupPlaces(*mounts, *self);
}

}  // namespace regroup
