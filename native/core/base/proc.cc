#include "core/base/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <memory>

#include "core/base/split.h"
#include "core/base/syscall.h"

namespace regroup {

namespace {

/// The numbers that a folder's entries are.
std::vector<pid_t> numbersIn(const char* path) {
  std::vector<pid_t> numbers;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path), ::closedir);
  if (!folder) return numbers;
  while (const dirent* entry = ::readdir(folder.get())) {
    pid_t number = 0;
    const char* const end = entry->d_name + ::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, number).ptr == end && number > 0)
      numbers.push_back(number);
  }
  return numbers;
}

/// A line's value without the tab before it; nothing if it's another line.
std::optional<std::string_view> valueOf(std::string_view line, std::string_view name) {
  if (!line.starts_with(name)) return std::nullopt;
  line.remove_prefix(name.size());
  const size_t from = line.find_first_not_of(" \t");
  return from == std::string_view::npos ? std::string_view() : line.substr(from);
}

template <typename Number>
void readNumber(std::string_view text, Number& number, int base = 10) {
  (void)std::from_chars(text.data(), text.data() + text.size(), number, base);
}

}  // namespace

std::vector<pid_t> allProcesses() {
  return numbersIn("/proc");
}

bool isUsers(pid_t pid) {
  const pid_t session = ::getsid(pid);
  return session > 0 || (session == 0 && ::getsid(0) == 0);
}

std::vector<pid_t> threadsOf(pid_t pid) {
  return numbersIn(procPath(pid, "task").c_str());
}

std::string procPath(pid_t pid, std::string_view file) {
  return std::string("/proc/").append(std::to_string(pid)).append("/").append(file);
}

std::optional<ProcessStatus> parseStatus(std::string_view text) {
  std::optional<ProcessStatus> status;
  for (const std::string_view line : split(text, '\n')) {
    // The name comes first, and the kernel escapes newlines in it.
    if (const auto state = valueOf(line, "State:"); state && !state->empty()) {
      status.emplace();
      status->state = state->front();
    }
    if (!status) continue;
    if (const auto parent = valueOf(line, "PPid:")) readNumber(*parent, status->parent);
    if (const auto threads = valueOf(line, "Threads:")) readNumber(*threads, status->threads);
    if (const auto ignored = valueOf(line, "SigIgn:")) readNumber(*ignored, status->ignored, 16);
    for (const char* const kind : {"voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"}) {
      uint64_t switches = 0;
      if (const auto value = valueOf(line, kind)) readNumber(*value, switches);
      status->switches += switches;
    }
  }
  return status;
}

std::optional<ProcessStatus> statusOf(pid_t pid) {
  auto text = readFile(procPath(pid, "status").c_str(), kMaxStatusBytes);
  return text ? parseStatus(*text) : std::nullopt;
}

bool isDead(const std::optional<ProcessStatus>& status) {
  if (!status || status->state == 'X') return true;
  return status->state == 'Z' && status->threads <= 1;
}

std::string commandOf(pid_t pid) {
  auto name = readFile(procPath(pid, "comm").c_str(), 64);
  if (!name) return {};
  if (name->ends_with('\n')) name->pop_back();
  return *std::move(name);
}

std::optional<ProcEntry> entryOf(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid);
  struct statx info;  // stat(2)'s symbol is younger than glibc 2.28
  constexpr unsigned kWanted = STATX_INO | STATX_CTIME | STATX_UID;
  if (::statx(AT_FDCWD, path.c_str(), 0, kWanted, &info) < 0) return std::nullopt;
  return ProcEntry{info.stx_ino, info.stx_ctime.tv_sec, info.stx_ctime.tv_nsec, info.stx_uid};
}

}  // namespace regroup
