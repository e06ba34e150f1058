// Loaded into a worker before its program: registers the main thread with the kernel's robust list,
// on a page that the agent watches. The kernel marks the page's word when the thread begins to die,
// long before the process is gone. Whatever doesn't fit leaves the worker as it was: it's a hint
// only.
//
// A worker may be a wrapper first, such as pyenv's, which becomes Python by exec and so must keep
// the environment that brought us here. In Python, and in whatever else a wrapper starts, we take
// our traces out of it: neither a script nor what that starts sees them.
//
// It needs no libc, so that it loads into any program of this architecture, whatever libc that has.
//
// Thread: main, before main().

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "core/base/raw.h"
#include "core/process/early_layout.h"

using namespace regroup;

extern "C" {
/// The C library's list, if it has set it up by now.
[[gnu::weak]] extern char** environ;
/// There in an interpreter, whatever it's called.
[[gnu::weak]] void Py_Main();
[[gnu::weak]] void pypy_main_startup();
}

namespace {

constexpr char kPreload[] = "LD_PRELOAD";
constexpr char kOwnName[] = "/regroup_early.so";

/// As linux/futex.h has it; a C library's is part of the thread's control block.
struct RobustList {
  void* first;
  long wordFromLink;
  void* pending;
};

/// For a C library that registers none before it needs one (musl). If it does so later, ours is
/// forgotten, and so is the hint.
RobustList ownList;

size_t lengthOf(const char* text) {
  size_t length = 0;
  while (text[length] != '\0') length++;
  return length;
}

/// The value, if `entry` is the variable's.
char* valueOf(char* entry, const char* name) {
  const size_t length = lengthOf(name);
  for (size_t i = 0; i < length; i++) {
    if (entry[i] != name[i]) return nullptr;
  }
  return entry[length] == '=' ? entry + length + 1 : nullptr;
}

/// Takes our path off the end of what's preloaded. @returns whether nothing is left
bool removeOwnPath(char* value) {
  const size_t length = lengthOf(value);
  const size_t name = sizeof kOwnName - 1;
  if (length < name) return false;
  for (size_t i = 0; i < name; i++) {
    if (value[length - name + i] != kOwnName[i]) return false;
  }
  size_t start = length;
  while (start > 0 && value[start - 1] != ':') start--;
  if (start == 0) return true;
  value[start - 1] = '\0';
  return false;
}

const char* findPage(char** entries) {
  for (char** entry = entries; *entry != nullptr; entry++) {
    if (const char* value = valueOf(*entry, early::kVariable)) return value;
  }
  return nullptr;
}

/// Removes our traces.
void cleanEnvironment(char** entries) {
  char** kept = entries;
  for (char** entry = entries; *entry != nullptr; entry++) {
    if (valueOf(*entry, early::kVariable) != nullptr) continue;
    char* const preload = valueOf(*entry, kPreload);
    if (preload != nullptr && removeOwnPath(preload)) continue;
    *kept++ = *entry;
  }
  *kept = nullptr;
}

/// A number and what ends it; -1 if there's none.
long parseNumber(const char*& text, char end) {
  long number = 0;
  const char* at = text;
  for (; *at >= '0' && *at <= '9'; at++) {
    if (at - text > 15) return -1;
    number = number * 10 + (*at - '0');
  }
  if (at == text || *at != end) return -1;
  text = at + 1;
  return number;
}

void append(char*& to, const char* text) {
  while (*text != '\0') *to++ = *text++;
  *to = '\0';
}
void append(char*& to, long number) {
  char digits[24];
  int count = 0;
  do digits[count++] = static_cast<char>('0' + number % 10);
  while ((number /= 10) > 0);
  while (count > 0) *to++ = digits[--count];
  *to = '\0';
}

/// Maps the page that the variable's rest names; null if it can't be had.
char* mapPage(long agent, const char* text) {
  const long fd = parseNumber(text, ':');
  const long offset = parseNumber(text, '\0');
  if (fd < 0 || offset < 0) return nullptr;

  char path[80];
  char* end = path;
  append(end, "/proc/");
  append(end, agent);
  append(end, "/fd/");
  append(end, fd);
  const long memfd =
      rawCall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), O_RDWR | O_CLOEXEC);
  if (memfd < 0) return nullptr;
  const long page =
      rawCall(SYS_mmap, 0, early::kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, offset);
  rawCall(SYS_close, memfd);
  return page < 0 && page > -4096 ? nullptr : reinterpret_cast<char*>(page);
}

RobustList* robustList() {
  RobustList* list = nullptr;
  size_t size = 0;
  if (rawCall(SYS_get_robust_list, 0, reinterpret_cast<long>(&list),
              reinterpret_cast<long>(&size)) < 0)
    return nullptr;
  if (list != nullptr) {
    // Another layout than glibc's: its words lie elsewhere than ours.
    const bool fits = list->first != nullptr && list->wordFromLink == early::kWordFromLink;
    return fits ? list : nullptr;
  }
  ownList = {&ownList, early::kWordFromLink, nullptr};
  const long set = rawCall(SYS_set_robust_list, reinterpret_cast<long>(&ownList), sizeof ownList);
  return set < 0 ? nullptr : &ownList;
}

/// Puts the page's entry at the list's head, as pthread_mutex_lock does. Nothing ever takes it out,
/// and the page is never unmapped: it must still be there when the kernel walks the list.
void enqueue(RobustList* list, char* page) {
  void** const next = reinterpret_cast<void**>(page + early::kLinkAt);
  void** const back = next - 1;
  auto* const word = reinterpret_cast<uint32_t*>(page);
  const auto thread = static_cast<uint32_t>(rawCall(SYS_gettid));
  // The agent waits already, whatever the word's value; the kernel asks this bit only.
  __atomic_store_n(word, thread | early::kWaiters, __ATOMIC_RELEASE);

  void** const first =
      reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(list->first) & ~uintptr_t{1});
  *next = list->first;
  *back = &list->first;
  // Ours has no link back, nor anybody who'd read it.
  if (list != &ownList) first[-1] = next;
  list->first = next;
}

[[gnu::constructor]] void registerWorker(int, char**, char** entries) {
  // The C library's own list is the same array, unless somebody preloaded before us has moved it.
  char** const list = &environ != nullptr && environ != nullptr ? environ : entries;
  if (list == nullptr) return;
  const char* text = findPage(list);
  if (text == nullptr) return;
  const long agent = parseNumber(text, ':');
  // Whoever else got hold of the variable would overwrite the worker's word.
  const bool isWorker = rawCall(SYS_getppid) == agent;
  const bool isPython = &Py_Main != nullptr || &pypy_main_startup != nullptr;
  if (isWorker && !isPython) return;
  cleanEnvironment(list);
  char* const page = isWorker ? mapPage(agent, text) : nullptr;
  if (page == nullptr) return;
  if (RobustList* const robust = robustList()) enqueue(robust, page);
}

}  // namespace
