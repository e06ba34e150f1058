#include "core/spawn/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
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

/// 0, or why execve would refuse it.
int whyNotExecutable(const std::string& path) {
  struct statx info;  // stat(2)'s symbol is younger than glibc 2.28
  if (::statx(AT_FDCWD, path.c_str(), 0, STATX_TYPE, &info) < 0) return errno;
  if (!S_ISREG(info.stx_mode)) return EACCES;
  if (::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) < 0) return errno;
  return 0;
}

}  // namespace

Result<std::string> resolveExecutable(const std::string& name, std::span<const std::string> env,
                                      const std::string& cwd) {
  if (name.empty()) return Error{"execve", ENOENT};
  if (name.find('/') != std::string::npos) return name;

  int reason = ENOENT;
  std::string_view path = searchPath(env);
  while (true) {
    const size_t colon = path.find(':');
    const std::string_view folder = path.substr(0, colon);
    const std::string candidate =
        folder.empty() ? "./" + name : std::string(folder) + "/" + name;
    // A relative entry counts from where the worker will be.
    const bool relative = candidate[0] != '/' && !cwd.empty();
    const int refusal = whyNotExecutable(relative ? cwd + "/" + candidate : candidate);
    if (refusal == 0) return candidate;
    if (refusal == EACCES) reason = EACCES;
    if (colon == std::string_view::npos) return Error{"execve", reason};
    path.remove_prefix(colon + 1);
  }
}

Result<PreparedCommand> PreparedCommand::prepare(const Command& command,
                                                 std::span<const int> fds) {
  PreparedCommand prepared;
  auto path = resolveExecutable(command.file, command.env, command.cwd);
  if (!path) return path.error();
  prepared.path_ = *std::move(path);
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
  plan.path = path_.c_str();
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
