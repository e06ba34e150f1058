#include "core/spawn/plan.h"

#include <errno.h>
#include <string_view>

#include "core/base/nofile.h"
#include "core/base/syscall.h"

namespace regroup {

namespace {

/// Where PATH isn't set. @source CPython, Lib/posixpath.py, defpath
constexpr std::string_view kDefaultPath = "/bin:/usr/bin";

std::string_view searchPath(std::span<const std::string> env) {
  for (const std::string& entry : env) {
    if (entry.starts_with("PATH=")) return std::string_view(entry).substr(5);
  }
  return kDefaultPath;
}

}  // namespace

std::vector<std::string> pathsOf(const std::string& name, std::span<const std::string> env) {
  if (name.find('/') != std::string::npos) return {name};
  std::vector<std::string> paths;
  std::string_view path = searchPath(env);
  while (true) {
    const size_t colon = path.find(':');
    const std::string_view folder = path.substr(0, colon);
    paths.push_back(folder.empty() ? "./" + name : std::string(folder) + "/" + name);
    if (colon == std::string_view::npos) return paths;
    path.remove_prefix(colon + 1);
  }
}

Result<PreparedCommand> PreparedCommand::prepare(const Command& command, std::span<const int> fds) {
  PreparedCommand prepared;
  if (command.file.empty()) return Error{"execve", ENOENT};
  prepared.paths_ = pathsOf(command.file, command.env);
  for (const std::string& path : prepared.paths_) prepared.pathPointers_.push_back(path.c_str());
  prepared.cwd_ = command.cwd;
  prepared.outlivesUs_ = command.outlivesUs;
  prepared.nofileSoft_ = command.nofileSoft ? command.nofileSoft : nofileBeforeRaise();

  prepared.binding_ = PreparedBinding(command.binding);
  prepared.limits_ = PreparedLimits(command.limits);

  const size_t args = command.argv.size();
  prepared.strings_.reserve(args + command.env.size());
  prepared.strings_.insert(prepared.strings_.end(), command.argv.begin(), command.argv.end());
  prepared.strings_.insert(prepared.strings_.end(), command.env.begin(), command.env.end());
  prepared.pointers_.reserve(prepared.strings_.size() + 2);
  for (size_t i = 0; i <= prepared.strings_.size(); i++) {
    if (i == args) {
      prepared.pointers_.push_back(nullptr);
      prepared.envStart_ = prepared.pointers_.size();
    }
    if (i < prepared.strings_.size()) prepared.pointers_.push_back(prepared.strings_[i].data());
  }
  prepared.pointers_.push_back(nullptr);

  const int count = static_cast<int>(fds.size());
  for (int i = 0; i < count; i++) {
    const int fd = fds[static_cast<size_t>(i)];
    if (fd == i || fd >= count) {
      prepared.fds_.push_back(fd);
      continue;
    }
    auto copy = duplicateAbove(fd, count);
    if (!copy) return copy.error();
    prepared.fds_.push_back(copy->get());
    prepared.moved_.push_back(*std::move(copy));
  }
  return prepared;
}

SpawnPlan PreparedCommand::plan() const {
  SpawnPlan plan{};
  plan.paths = pathPointers_.data();
  plan.pathCount = static_cast<int>(pathPointers_.size());
  plan.argv = pointers_.data();
  plan.envp = pointers_.data() + envStart_;
  plan.cwd = cwd_.empty() ? nullptr : cwd_.c_str();
  plan.fds = fds_.data();
  plan.fdCount = static_cast<int>(fds_.size());
  plan.nofileSoft = nofileSoft_ ? &*nofileSoft_ : nullptr;
  plan.binding = binding_.calls();
  plan.limits = limits_.calls();
  plan.outlivesUs = outlivesUs_;
  return plan;
}

}  // namespace regroup
