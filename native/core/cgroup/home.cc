#include "core/cgroup/home.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/syscall.h"
#include "core/cgroup/cgroup.h"

namespace regroup {

namespace {

constexpr size_t kMaxControlBytes = 64 * 1024;

bool lists(const std::string& file, std::string_view word) {
  auto text = readFile(file.c_str(), kMaxControlBytes);
  if (!text) return false;
  const std::string_view list = *text;
  for (size_t at = list.find(word); at != std::string_view::npos; at = list.find(word, at + 1)) {
    const size_t end = at + word.size();
    const bool begins = at == 0 || list[at - 1] == ' ';
    if (begins && (end == list.size() || list[end] == ' ' || list[end] == '\n')) return true;
  }
  return false;
}

}  // namespace

Controllers CgroupHome::missing(Controllers needed) const {
  const std::string file = places().unified + "/cgroup.subtree_control";
  Controllers missing = 0;
  eachController(needed, [&](Controllers one) {
    if (!lists(file, nameOf(one))) missing |= one;
  });
  return missing;
}

std::string CgroupHome::leaf() const {
  return places().unified + "/regroup-agent-" + std::to_string(::getpid());
}

std::optional<UsageRefusal> CgroupHome::share(Controllers missing, pid_t guardian) {
  if (!fixed_) fixed_ = findCgroupPlaces();
  const std::string& folder = fixed_->unified;
  if (auto refusal = clear(folder, guardian)) return refusal;
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
std::optional<UsageRefusal> CgroupHome::clear(const std::string& folder, pid_t guardian) {
  const bool isRoot = ::access((folder + "/cgroup.type").c_str(), F_OK) < 0;
  if (isRoot || moved_) return {};
  const std::string leaf = this->leaf();
  // EEXIST: of an agent that had our pid, and whose guardian was killed as well.
  if (::mkdir(leaf.c_str(), 0755) < 0 && errno != EEXIST)
    return UsageRefusal{leaf, {"mkdir", errno}};
  moved_ = true;
  const std::string ours = leaf + "/cgroup.procs";
  if (guardian > 0) (void)writeControl(ours, std::to_string(guardian));  // it may be gone
  if (auto written = writeControl(ours, "0"); !written) return UsageRefusal{ours, written.error()};
  const std::string others = folder + "/cgroup.procs";
  auto text = readFile(others.c_str(), kMaxControlBytes);
  if (text && !text->empty()) return UsageRefusal{others, {"write", EBUSY}};
  return {};
}

void CgroupHome::restore() {
  if (!fixed_) return;
  const std::string& folder = fixed_->unified;
  // Before we're back: it may have no process while it shares them out.
  eachController(shared_, [&](Controllers one) {
    // Refused where somebody below has come to use it.
    (void)writeControl(folder + "/cgroup.subtree_control", std::string("-").append(nameOf(one)));
  });
  shared_ = 0;
  if (moved_) {
    const std::string leaf = this->leaf();
    // Ourselves, and what has been started here meanwhile.
    for (const pid_t pid : membersOf(leaf))
      (void)writeControl(folder + "/cgroup.procs", std::to_string(pid));
    (void)::rmdir(leaf.c_str());
  }
  moved_ = false;
  fixed_.reset();
}

}  // namespace regroup
