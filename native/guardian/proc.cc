#include "guardian/proc.h"

#include <sys/stat.h>

using regroup::rawCall;

namespace guardian {

namespace {

uint32_t agent = 0;
bool hasNoSession = false;

char* append(char* to, const char* text) {
  for (; *text; text++) *to++ = *text;
  *to = '\0';
  return to;
}

char* append(char* to, uint32_t number) {
  char digits[10];
  int count = 0;
  do {
    digits[count++] = static_cast<char>('0' + number % 10);
  } while (number /= 10);
  while (count > 0) *to++ = digits[--count];
  *to = '\0';
  return to;
}

/// As much as there's room for. @returns how much, or -errno
template <size_t kBytes>
long readWhole(const Path& path, char (&text)[kBytes]) {
  const long fd = rawCall(SYS_openat, AT_FDCWD, pointer(path.text), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fd;
  const long size = rawCall(SYS_read, fd, pointer(text), kBytes);
  rawCall(SYS_close, fd);
  return size;
}

/// Behind `name` at the beginning of a line; null if there's none.
const char* valueOf(const char* line, const char* end, const char* name) {
  for (; *name; name++, line++) {
    if (line == end || *line != *name) return nullptr;
  }
  while (line < end && (*line == '\t' || *line == ' ')) line++;
  return line;
}

}  // namespace

void noteAgent() {
  agent = static_cast<uint32_t>(rawCall(SYS_getppid));
  hasNoSession = rawCall(SYS_getsid, agent) == 0;
}

uint32_t agentPid() {
  return agent;
}

bool agentHasNoSession() {
  return hasNoSession;
}

bool procIsOurs() {
  char number[16];
  char own[16];
  const char* const end = append(own, static_cast<uint32_t>(rawCall(SYS_getpid)));
  const long size =
      rawCall(SYS_readlinkat, AT_FDCWD, pointer("/proc/self"), pointer(number), sizeof number);
  return size == end - own && equal(number, own, static_cast<size_t>(size));
}

Path procPath(uint32_t pid, const char* file) {
  Path path;
  char* const to = append(append(append(path.text, "/proc/"), pid), "/");
  append(to, file);
  return path;
}

Path procPath(uint32_t pid, uint32_t thread, const char* file) {
  Path path = procPath(pid, "task/");
  char* end = path.text;
  while (*end) end++;
  append(append(append(end, thread), "/"), file);
  return path;
}

bool readStatus(uint32_t pid, Status& status) {
  static char text[4096];
  const long size = readWhole(procPath(pid, "status"), text);
  if (size <= 0) return false;
  const char* const end = text + size;
  for (const char* line = text; line < end;) {
    // The name comes first, and the kernel escapes newlines in it.
    if (const char* const state = valueOf(line, end, "State:"); state && state < end)
      status.state = *state;
    if (const char* const parent = valueOf(line, end, "PPid:"))
      (void)readNumber(parent, end, status.parent);
    if (const char* const threads = valueOf(line, end, "Threads:"))
      (void)readNumber(threads, end, status.threads);
    while (line < end && *line != '\n') line++;
    line++;
  }
  return true;
}

uint64_t parentOf(uint32_t pid) {
  Status status;
  return readStatus(pid, status) ? status.parent : 0;
}

bool mayLookInto(uint32_t pid) {
  const long user = rawCall(SYS_geteuid);
  if (user == 0) return true;
  struct statx info;
  const Path path = procPath(pid, "");
  const long found = rawCall(SYS_statx, AT_FDCWD, pointer(path.text), 0, STATX_UID, pointer(&info));
  return found == 0 && static_cast<long>(info.stx_uid) == user;
}

uint64_t startTickOf(uint32_t pid) {
  static char text[1024];
  constexpr int kStart = 22;
  const long size = readWhole(procPath(pid, "stat"), text);
  // The name before it is in parentheses, and may hold any.
  long at = size - 1;
  while (at > 0 && text[at] != ')') at--;
  if (at <= 0) return 0;
  const char* const end = text + size;
  const char* field = text + at + 2;
  for (int number = 3; field < end; number++) {
    uint64_t value = 0;
    (void)readNumber(field, end, value);
    if (number == kStart) return value;
    while (field < end && *field != ' ') field++;
    field++;
  }
  return 0;
}

}  // namespace guardian
