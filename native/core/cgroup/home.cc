#include "core/cgroup/home.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/split.h"
#include "core/base/syscall.h"
#include "core/cgroup/cgroup.h"

namespace regroup {

namespace {

constexpr size_t kMaxControlBytes = 64 * 1024;

bool lists(const std::string& file, std::string_view word) {
  auto text = readFile(file.c_str(), kMaxControlBytes);
  if (!text) return false;
  for (const std::string_view line : split(*text, '\n')) {
    for (const std::string_view each : split(line, ' ')) {
      if (each == word) return true;
    }
  }
  return false;
}

std::string leafOf(const CgroupPlaces& places) {
  return places.unified + "/regroup-agent-" + std::to_string(::getpid());
}

/// Moves who is in one cgroup itself into another.
/// @returns whether all could be moved: nobody of another pid namespace was among them
bool moveAll(const std::string& from, const std::string& to) {
  constexpr int kTries = 10;  // one may fork meanwhile
  const std::string source = from + "/cgroup.procs";
  const std::string target = to + "/cgroup.procs";
  for (int i = 0; i < kTries; i++) {
    const auto pids = processesIn(from);
    if (pids.empty()) break;
    for (const pid_t pid : pids) (void)writeControl(target, std::to_string(pid));
  }
  auto left = readFile(source.c_str(), kMaxControlBytes);
  return left && left->empty();
}

}  // namespace

CgroupHome& CgroupHome::ofThisProcess() {
  static CgroupHome& home = *new CgroupHome;  // our threads outlive static destructors
  return home;
}

CgroupPlaces CgroupHome::places() const {
  const std::lock_guard lock(mutex_);
  return users_ > 0 ? places_ : findCgroupPlaces();
}

void CgroupHome::enter() {
  const std::lock_guard lock(mutex_);
  if (users_++ == 0) places_ = findCgroupPlaces();
}

void CgroupHome::leave() {
  const std::lock_guard lock(mutex_);
  if (--users_ == 0) restore();
}

Controllers CgroupHome::missing(Controllers needed) const {
  const std::string file = places_.unified + "/cgroup.subtree_control";
  Controllers missing = 0;
  eachController(needed, [&](Controllers one) {
    if (!lists(file, nameOf(one))) missing |= one;
  });
  return missing;
}

Controllers CgroupHome::sharedWith(Controllers needed) const {
  const std::lock_guard lock(mutex_);
  return shared_ | missing(needed);
}

std::string CgroupHome::leaf() const {
  const std::lock_guard lock(mutex_);
  return leafOf(places_);
}

std::optional<UsageRefusal> CgroupHome::share(Controllers needed) {
  const std::lock_guard lock(mutex_);
  const Controllers missing = this->missing(needed);
  if (missing == 0) return {};
  const std::string& folder = places_.unified;
  if (auto refusal = clear(folder)) return refusal;
  std::optional<UsageRefusal> refusal;
  eachController(missing, [&](Controllers one) {
    if (refusal) return;
    const std::string available = folder + "/cgroup.controllers";
    if (!lists(available, nameOf(one))) {
      refusal = UsageRefusal{available, {nameOf(one), ENOENT}};
      return;
    }
    const std::string file = folder + "/cgroup.subtree_control";
    if (auto written = writeControl(file, std::string("+").append(nameOf(one))); written)
      shared_ |= one;
    else
      refusal = UsageRefusal{file, written.error()};
  });
  return refusal;
}

/// Memory can't be shared out in a cgroup that has processes. Processes and CPU time can, but then
/// the cgroups below are of threads only.
std::optional<UsageRefusal> CgroupHome::clear(const std::string& folder) {
  const bool isRoot = ::access((folder + "/cgroup.type").c_str(), F_OK) < 0;
  if (isRoot || moved_) return {};
  const std::string leaf = leafOf(places_);
  // EEXIST: of an agent that had our pid, and whose guardian was killed as well.
  if (::mkdir(leaf.c_str(), 0755) < 0 && errno != EEXIST)
    return UsageRefusal{leaf, {"mkdir", errno}};
  moved_ = true;
  // First ourselves: that tells whether we may.
  if (auto moved = writeControl(leaf + "/cgroup.procs", "0"); !moved)
    return UsageRefusal{leaf + "/cgroup.procs", moved.error()};
  if (moveAll(folder, leaf)) return {};
  return UsageRefusal{folder + "/cgroup.procs", {"write", EBUSY}};
}

void CgroupHome::restore() {
  const std::string& folder = places_.unified;
  // Before we're back: it may have no process while it shares them out.
  eachController(shared_, [&](Controllers one) {
    // Refused where somebody below has come to use it.
    (void)writeControl(folder + "/cgroup.subtree_control", std::string("-").append(nameOf(one)));
  });
  shared_ = 0;
  if (moved_) {
    const std::string leaf = leafOf(places_);
    (void)moveAll(leaf, folder);
    // Refused where somebody has made cgroups in it, such as another agent whose shell we moved.
    (void)::rmdir(leaf.c_str());
  }
  moved_ = false;
}

}  // namespace regroup
