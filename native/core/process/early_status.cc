#include "core/process/early_status.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <memory>
#include <string>

#include "core/base/proc.h"

namespace regroup {

namespace {

constexpr uint64_t kPfExiting = 0x4;  // the kernel's linux/sched.h
/// Fields of /proc/PID/stat, as proc(5) numbers them.
enum Field { kParent = 4, kFlags = 9, kThreads = 20, kPending = 31, kExitCode = 52 };
/// A thread that has taken its SIGKILL off the pending ones isn't marked as ending for a moment.
constexpr int kLooks = 2;

/// @param path of a process's or a thread's `stat`
std::optional<TaskStat> statAt(const std::string& path) {
  auto text = readFile(path.c_str(), 4096);
  return text ? parseTaskStat(*text) : std::nullopt;
}

/// Whether the other threads end, too: a first thread may end by itself, and leave them running.
bool allThreadsEnd(pid_t pid) {
  const std::string folder = procPath(pid, "task");
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(::opendir(folder.c_str()), ::closedir);
  if (!tasks) return false;
  bool running = false;
  while (const dirent* entry = ::readdir(tasks.get())) {
    const pid_t thread = ::atoi(entry->d_name);
    if (thread <= 0 || thread == pid) continue;
    const auto stat = statAt(folder + "/" + entry->d_name + "/stat");
    if (!stat || stat->exiting) continue;
    // An end of the whole process is sent to all of them in one go: one tells for all.
    if (stat->killPending) return true;
    running = true;
  }
  return !running;
}

ExitStatus decode(int waitStatus) {
  if (WIFEXITED(waitStatus)) return {ExitStatus::How::Exited, WEXITSTATUS(waitStatus), false};
  return {ExitStatus::How::Signaled, WTERMSIG(waitStatus), WCOREDUMP(waitStatus) != 0};
}

}  // namespace

std::optional<TaskStat> parseTaskStat(std::string_view text) {
  // The name is in parentheses and may hold any, and spaces.
  const size_t end = text.rfind(") ");
  if (end == std::string_view::npos) return std::nullopt;
  text.remove_prefix(end + 2);

  TaskStat stat;
  int seen = 0;
  for (int field = 3; !text.empty(); field++) {
    const size_t space = text.find_first_of(" \n");
    const std::string_view word = text.substr(0, space);
    text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
    if (field != kParent && field != kFlags && field != kThreads && field != kPending &&
        field != kExitCode)
      continue;
    int64_t value = 0;
    if (std::from_chars(word.data(), word.data() + word.size(), value).ec != std::errc())
      return std::nullopt;
    seen++;
    if (field == kParent) stat.parent = static_cast<pid_t>(value);
    if (field == kFlags) stat.exiting = (static_cast<uint64_t>(value) & kPfExiting) != 0;
    if (field == kThreads) stat.threads = value;
    if (field == kPending)
      stat.killPending = (static_cast<uint64_t>(value) & signalBit(SIGKILL)) != 0;
    if (field == kExitCode) stat.waitStatus = static_cast<int>(value);
  }
  if (seen != 5) return std::nullopt;
  return stat;
}

std::optional<ExitStatus> dyingStatus(pid_t pid) {
  const auto stat = statAt(procPath(pid, "stat"));
  // Another's child: somebody took our worker's status, and the pid has a new owner.
  if (!stat || stat->parent != ::getpid()) return std::nullopt;
  if (!stat->exiting || stat->waitStatus == 0) return std::nullopt;
  if (stat->threads <= 1) return decode(stat->waitStatus);
  for (int look = 0; look < kLooks; look++) {
    if (allThreadsEnd(pid)) return decode(stat->waitStatus);
  }
  return std::nullopt;
}

}  // namespace regroup
