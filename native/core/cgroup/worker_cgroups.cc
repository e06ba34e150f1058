#include "core/cgroup/worker_cgroups.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/syscall.h"

namespace regroup {

namespace {

constexpr size_t kMaxCounterBytes = 64 * 1024;

const std::string& placeOf(const CgroupPlaces& places, Controllers one) {
  if (one == kMemory) return places.memory;
  return one == kPids ? places.pids : places.cpu;
}

std::string text(const std::string& path) {
  auto read = readFile(path.c_str(), kMaxCounterBytes);
  return read ? *std::move(read) : std::string();
}

std::string workerFolder(const std::string& group, size_t index) {
  return group + "/worker-" + std::to_string(index);
}

/// Writes one file after the other, until one is refused.
class Files {
 public:
  explicit Files(const std::string& folder) : folder_(folder) {}

  void set(const char* file, const std::string& value) {
    if (refusal_) return;
    const std::string path = folder_ + "/" + file;
    if (auto written = writeControl(path, value); !written)
      refusal_ = UsageRefusal{path, written.error()};
  }
  void set(const char* file, std::optional<uint64_t> value) {
    if (value) set(file, std::to_string(*value));
  }
  /// What isn't on older kernels.
  void trySet(const char* file, const char* value) const {
    (void)writeControl(folder_ + "/" + file, value);
  }
  std::optional<UsageRefusal> refusal() && { return std::move(refusal_); }

 private:
  const std::string& folder_;
  std::optional<UsageRefusal> refusal_;
};

std::optional<UsageRefusal> limitUnified(const std::string& folder, Controllers controllers,
                                         const UsageLimits& limits) {
  Files files(folder);
  if (controllers & kMemory) {
    files.set("memory.high", limits.memoryHigh);
    files.set("memory.max", limits.memoryMax);
    // A worker that has lost one of its processes is of no use. Since 4.19.
    if (limits.memoryMax) files.trySet("memory.oom.group", "1");
  }
  if (controllers & kPids) files.set("pids.max", limits.pidsMax);
  if (controllers & kCpu && limits.cpuQuotaUs)
    files.set("cpu.max", std::to_string(*limits.cpuQuotaUs) + " " + std::to_string(kCpuPeriodUs));
  return std::move(files).refusal();
}

std::optional<UsageRefusal> limitOld(const std::string& folder, Controllers controllers,
                                     const UsageLimits& limits) {
  Files files(folder);
  if (controllers & kMemory) {
    // Its soft limit is another thing: it matters only when the whole machine is short of memory.
    if (limits.memoryHigh) return UsageRefusal{folder + "/memory.high", {"open", EOPNOTSUPP}};
    files.set("memory.limit_in_bytes", limits.memoryMax);
  }
  if (controllers & kPids) files.set("pids.max", limits.pidsMax);
  if (controllers & kCpu && limits.cpuQuotaUs) {
    files.set("cpu.cfs_period_us", std::to_string(kCpuPeriodUs));
    files.set("cpu.cfs_quota_us", limits.cpuQuotaUs);
  }
  return std::move(files).refusal();
}

}  // namespace

std::variant<WorkerCgroups, UsageRefusal> WorkerCgroups::find(const CgroupPlaces& places,
                                                              const std::string& cookie,
                                                              Controllers needed) {
  WorkerCgroups found;
  std::optional<UsageRefusal> refusal;
  eachController(needed, [&](Controllers one) {
    // A controller that version 1 has isn't to be had in version 2.
    const std::string& old = placeOf(places, one);
    const std::string& place = old.empty() ? places.unified : old;
    if (place.empty()) {
      refusal = UsageRefusal{"", {nameOf(one), ENOENT}};
      return;
    }
    const std::string folder = place + "/regroup-" + cookie;
    for (Hierarchy& known : found.hierarchies_) {
      if (known.folder != folder) continue;
      known.controllers |= one;
      return;
    }
    found.hierarchies_.push_back({folder, old.empty(), one, Fd()});
  });
  if (refusal) return *std::move(refusal);
  return found;
}

Controllers WorkerCgroups::unified() const {
  for (const Hierarchy& each : hierarchies_) {
    if (each.unified) return each.controllers;
  }
  return 0;
}

std::vector<std::string> WorkerCgroups::folders() const {
  std::vector<std::string> folders;
  for (const Hierarchy& each : hierarchies_) {
    if (!each.unified) folders.push_back(each.folder);
  }
  return folders;
}

const WorkerCgroups::Hierarchy* WorkerCgroups::with(Controllers one) const {
  for (const Hierarchy& each : hierarchies_) {
    if (each.controllers & one) return &each;
  }
  return nullptr;
}

std::optional<UsageRefusal> WorkerCgroups::make() {
  for (Hierarchy& each : hierarchies_) {
    if (!each.unified) {
      // EEXIST: the freezer's, in a hierarchy that has several controllers.
      if (::mkdir(each.folder.c_str(), 0755) < 0 && errno != EEXIST)
        return UsageRefusal{each.folder, {"mkdir", errno}};
      if (auto folder = openFile(each.folder.c_str(), O_RDONLY | O_DIRECTORY)) {
        markAsOurs(*folder);
        each.mark = *std::move(folder);
      }
      continue;
    }
    Files files(each.folder);
    eachController(each.controllers, [&](Controllers one) {
      files.set("cgroup.subtree_control", std::string("+").append(nameOf(one)));
    });
    if (auto refusal = std::move(files).refusal()) return refusal;
  }
  return {};
}

std::variant<WorkerCgroups::Membership, UsageRefusal> WorkerCgroups::add(
    size_t index, const UsageLimits& limits) const {
  Membership membership;
  for (const Hierarchy& each : hierarchies_) {
    const std::string folder = workerFolder(each.folder, index);
    auto made = Cgroup::make(folder);
    if (!made) return UsageRefusal{folder, made.error()};
    auto refusal = each.unified ? limitUnified(folder, each.controllers, limits)
                                : limitOld(folder, each.controllers, limits);
    if (refusal) return *std::move(refusal);
    if (each.unified)
      membership.born = *std::move(made);
    else
      membership.joined.push_back(*std::move(made));
  }
  return membership;
}

Usage WorkerCgroups::usageOf(size_t index) const {
  Usage usage;
  if (const Hierarchy* const memory = with(kMemory)) {
    const std::string folder = workerFolder(memory->folder, index);
    const bool unified = memory->unified;
    const std::string events = text(folder + (unified ? "/memory.events" : "/memory.oom_control"));
    usage.oomKills = countOf(events, "oom_kill").value_or(0);
    usage.peakBytes = numberIn(
        text(folder + (unified ? "/memory.peak" : "/memory.max_usage_in_bytes")));  // peak: 5.19
    if (unified) usage.pressure = pressureOf(text(folder + "/memory.pressure"));
  }
  if (const Hierarchy* const pids = with(kPids))
    usage.pidsRefused =
        countOf(text(workerFolder(pids->folder, index) + "/pids.events"), "max").value_or(0);
  return usage;
}

}  // namespace regroup
