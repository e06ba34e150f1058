#include "guardian/cgroups.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>

#include "core/base/dir_entry.h"
#include "core/base/raw.h"
#include "guardian/groups.h"
#include "guardian/home.h"
#include "guardian/text.h"

using regroup::DirEntry;
using regroup::rawCall;

namespace guardian {

namespace {

constexpr size_t kMaxCgroups = 1024;
/// The agent's own cgroup with a name below it; a longer one is still found by the others' means.
constexpr size_t kMaxPath = 1024;
/// Workers may have made cgroups below.
constexpr int kMaxDepth = 8;

struct Cgroup {
  uint64_t group;
  char path[kMaxPath];
};

Cgroup cgroups[kMaxCgroups];
size_t count = 0;

uint64_t homeControllers = 0;
char home[kMaxPath];  // empty: nothing was changed there
char leaf[kMaxPath];

constexpr uint8_t kFolder = 4;

long openAt(long folder, const char* name, int flags) {
  return rawCall(SYS_openat, folder, pointer(name), flags | O_CLOEXEC);
}

bool writeAt(long folder, const char* file, const char* text, size_t bytes) {
  const long fd = openAt(folder, file, O_WRONLY);
  if (fd < 0) return false;
  const long written = rawCall(SYS_write, fd, pointer(text), static_cast<long>(bytes));
  rawCall(SYS_close, fd);
  return written >= 0;
}

/// Calls `visit(folder, name)` for each folder in `folder`. The buffer is the frame's own, since
/// visits nest.
template <typename Visit>
void eachFolder(long folder, Visit visit) {
  alignas(8) char entries[2048];
  // A new description, since the position is shared otherwise.
  const long list = openAt(folder, ".", O_RDONLY | O_DIRECTORY);
  if (list < 0) return;
  long size;
  while ((size = rawCall(SYS_getdents64, list, pointer(entries), sizeof entries)) > 0) {
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const DirEntry*>(entries + at);
      at += entry->bytes;
      if (entry->type == kFolder && entry->name[0] != '.') visit(folder, entry->name);
    }
  }
  rawCall(SYS_close, list);
}

/// Calls `visit(digits, bytes)` for each process in the cgroup.
template <typename Visit>
void eachMember(long folder, Visit visit) {
  const long fd = openAt(folder, "cgroup.procs", O_RDONLY);
  if (fd < 0) return;
  char digits[16];
  size_t held = 0;
  char chunk[1024];
  long size;
  while ((size = rawCall(SYS_read, fd, pointer(chunk), sizeof chunk)) > 0) {
    for (long i = 0; i < size; i++) {
      if (chunk[i] >= '0' && chunk[i] <= '9' && held < sizeof digits) {
        digits[held++] = chunk[i];
        continue;
      }
      if (held > 0) visit(digits, held);
      held = 0;
    }
  }
  rawCall(SYS_close, fd);
}

/// One by one. A pid is right at the time of the read; where the cgroup is frozen, it stays so.
bool killMembers(long folder, int depth) {
  bool any = false;
  eachMember(folder, [&](const char* digits, size_t bytes) {
    uint32_t pid = 0;
    for (size_t i = 0; i < bytes; i++) pid = pid * 10 + static_cast<uint32_t>(digits[i] - '0');
    // 0 is one of another pid namespace.
    if (pid <= 1) return;
    any = true;
    rawCall(SYS_kill, pid, SIGKILL);
  });
  if (depth >= kMaxDepth) return any;
  eachFolder(folder, [&](long parent, const char* name) {
    const long below = openAt(parent, name, O_RDONLY | O_DIRECTORY);
    if (below < 0) return;
    any = killMembers(below, depth + 1) || any;
    rawCall(SYS_close, below);
  });
  return any;
}

/// Whether anybody is in it or below.
bool hasMembers(long folder, int depth) {
  bool any = false;
  eachMember(folder, [&](const char*, size_t) { any = true; });
  if (any || depth >= kMaxDepth) return any;
  eachFolder(folder, [&](long parent, const char* name) {
    const long below = openAt(parent, name, O_RDONLY | O_DIRECTORY);
    if (below < 0) return;
    any = any || hasMembers(below, depth + 1);
    rawCall(SYS_close, below);
  });
  return any;
}

/// Of one that hangs in its exit only cgroup.events tells. Fallback: version 1 has none; its list
/// names that one too.
bool isPopulated(long folder) {
  const long fd = openAt(folder, "cgroup.events", O_RDONLY);
  if (fd < 0) return hasMembers(folder, 0);
  constexpr char kPopulated[] = "populated 1";
  constexpr long kBytes = sizeof kPopulated - 1;
  char text[256];
  const long size = rawCall(SYS_read, fd, pointer(text), sizeof text);
  rawCall(SYS_close, fd);
  for (long at = 0; at + kBytes <= size; at++) {
    if (equal(text + at, kPopulated, kBytes)) return true;
  }
  return false;
}

/// An emptied version 2 cgroup says so in cgroup.events, but not version 1; the list tells in both.
bool killOne(const char* path) {
  const long folder = openAt(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
  if (folder < 0) return false;
  const bool atOnce = writeAt(folder, "cgroup.kill", "1", 1);
  // Fallback: kernel < 5.14 has no cgroup.kill, version 1 never had. Frozen, nobody forks
  // meanwhile.
  if (!atOnce && !writeAt(folder, "cgroup.freeze", "1", 1))
    writeAt(folder, "freezer.state", "FROZEN", 6);
  const bool any = killMembers(folder, 0);
  if (!atOnce && !writeAt(folder, "cgroup.freeze", "0", 1))
    writeAt(folder, "freezer.state", "THAWED", 6);
  rawCall(SYS_close, folder);
  return any;
}

void setPath(char (&to)[kMaxPath], const char* path, size_t bytes) {
  if (bytes == 0 || bytes >= kMaxPath || path[0] != '/') return;
  for (size_t i = 0; i < bytes; i++) to[i] = path[i];
  to[bytes] = '\0';
}

bool removeAt(long parent, const char* name, int depth) {
  constexpr long kNoEntry = -2;
  const auto remove = [&] {
    const long result = rawCall(SYS_unlinkat, parent, pointer(name), AT_REMOVEDIR);
    return result == 0 || result == kNoEntry;
  };
  if (remove()) return true;
  const long folder = openAt(parent, name, O_RDONLY | O_DIRECTORY);
  if (folder < 0 || depth >= kMaxDepth) return false;
  eachFolder(folder, [&](long in, const char* below) { removeAt(in, below, depth + 1); });
  rawCall(SYS_close, folder);
  return remove();
}

}  // namespace

void addCgroup(uint64_t group, const char* path, size_t bytes) {
  if (bytes == 0 || bytes >= kMaxPath || path[0] != '/' || count == kMaxCgroups)
    return noteUnknown();
  Cgroup& cgroup = cgroups[count++];
  cgroup.group = group;
  for (size_t i = 0; i < bytes; i++) cgroup.path[i] = path[i];
  cgroup.path[bytes] = '\0';
}

void endCgroups(uint64_t group) {
  for (size_t i = 0; i < count;) {
    if (cgroups[i].group == group)
      cgroups[i] = cgroups[--count];
    else
      i++;
  }
}

bool killCgroups(bool (*isMeant)(uint64_t group)) {
  bool any = false;
  for (size_t i = 0; i < count; i++)
    any = (isMeant(cgroups[i].group) && killOne(cgroups[i].path)) || any;
  return any;
}

bool anyInCgroups() {
  bool any = false;
  for (size_t i = 0; i < count && !any; i++) {
    if (!hasTurn(cgroups[i].group)) continue;
    const long folder = openAt(AT_FDCWD, cgroups[i].path, O_RDONLY | O_DIRECTORY);
    if (folder < 0) continue;
    any = hasMembers(folder, 0);
    rawCall(SYS_close, folder);
  }
  return any;
}

bool removeCgroups() {
  bool all = true;
  for (size_t i = 0; i < count; i++) {
    if (hasTurn(cgroups[i].group)) all = removeAt(AT_FDCWD, cgroups[i].path, 0) && all;
  }
  return all;
}

CgroupsLeft removeEmptyCgroups() {
  auto left = CgroupsLeft::None;
  for (size_t i = 0; i < count; i++) {
    if (removeAt(AT_FDCWD, cgroups[i].path, 0)) continue;
    if (left == CgroupsLeft::None) left = CgroupsLeft::Empty;
    const long folder = openAt(AT_FDCWD, cgroups[i].path, O_RDONLY | O_DIRECTORY);
    if (folder < 0) continue;
    if (isPopulated(folder)) left = CgroupsLeft::Populated;
    rawCall(SYS_close, folder);
  }
  return left;
}

void setHome(uint64_t controllers, const char* path, size_t bytes) {
  homeControllers |= controllers;
  setPath(home, path, bytes);
}

void setLeaf(const char* path, size_t bytes) {
  setPath(leaf, path, bytes);
}

void restoreHome() {
  if (home[0] == '\0') return;
  const long folder = openAt(AT_FDCWD, home, O_RDONLY | O_DIRECTORY);
  if (folder < 0) return;
  // Before we're back: it may have no process while it shares them out.
  if (homeControllers & 1) writeAt(folder, "cgroup.subtree_control", "-memory", 7);
  if (homeControllers & 2) writeAt(folder, "cgroup.subtree_control", "-pids", 5);
  if (homeControllers & 4) writeAt(folder, "cgroup.subtree_control", "-cpu", 4);
  const long below = openAt(AT_FDCWD, leaf, O_RDONLY | O_DIRECTORY);
  if (below >= 0) {
    eachMember(below,
               [&](const char* pid, size_t bytes) { writeAt(folder, "cgroup.procs", pid, bytes); });
    rawCall(SYS_close, below);
    removeAt(AT_FDCWD, leaf, kMaxDepth);
  }
  rawCall(SYS_close, folder);
}

}  // namespace guardian
