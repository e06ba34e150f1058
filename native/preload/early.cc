// Loaded into a worker before its program: registers the main thread with the kernel's robust list,
// on a page that the agent watches. The kernel marks the page's word when the thread begins to die,
// long before the process is gone. Whatever doesn't fit leaves the worker as it was: it's a hint
// only.
//
// It needs no libc, so that it loads into any program of this architecture, whatever libc that has.
//
// Thread: main, before main().

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "core/base/raw.h"
#include "core/process/early_layout.h"
#include "preload/environment.h"

using namespace regroup;

namespace {

constexpr char kOwnName[] = "/regroup_early.so";

#if defined(__x86_64__)
static_assert(sizeof(struct stat) == 144, "the kernel's own");
#else
static_assert(sizeof(struct stat) == 128, "the kernel's own");
#endif

/// As linux/futex.h has it; a C library's is part of the thread's control block.
struct RobustList {
  void* first;
  long wordFromLink;
  void* pending;
};

/// For a C library that registers none before it needs one (musl). If it does so later, ours is
/// forgotten, and so is the hint.
RobustList ownList;

/// The variable's value, parsed.
struct PageName {
  long agent;  // its pid
  long fd;     // the agent's
  long offset;
  long device;  // what that file is
  long inode;
};

bool parse(const char* text, PageName& name) {
  name.agent = parseNumber(text, ':');
  name.fd = parseNumber(text, ':');
  name.offset = parseNumber(text, ':');
  name.device = parseNumber(text, ':');
  name.inode = parseNumber(text, '\0');
  return name.agent > 0 && name.fd >= 0 && name.offset >= 0 && name.device >= 0 && name.inode >= 0;
}

const char* findPage(char** entries) {
  for (char** entry = entries; *entry != nullptr; entry++) {
    if (const char* value = valueOf(*entry, early::kVariable)) return value;
  }
  return nullptr;
}

/// Whether /proc calls us what we call ourselves. Where it's another namespace's, the agent's
/// number is a stranger's there. Equal by chance, the rest tells.
bool procKnowsUs() {
  char link[24];
  const long length = rawCall(SYS_readlinkat, AT_FDCWD, reinterpret_cast<long>("/proc/self"),
                              reinterpret_cast<long>(link), sizeof link - 1);
  if (length <= 0) return false;
  link[length] = '\0';
  const char* text = link;
  return parseNumber(text, '\0') == rawCall(SYS_getpid);
}

long openAt(const char* folder, long number, const char* middle, long fd, int flags) {
  char path[80];
  char* end = path;
  append(end, folder);
  if (middle != nullptr) {
    append(end, number);
    append(end, middle);
  }
  append(end, fd);
  return rawCall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), flags | O_CLOEXEC);
}

/// Opens the agent's memfd. Only what proves to be that file is opened: behind the number there
/// might be another process's terminal, pipe or tape, which would notice.
long openMemfd(const PageName& name) {
  const long found = openAt("/proc/", name.agent, "/fd/", name.fd, O_PATH);
  if (found < 0) return found;
  struct stat status;
  long opened = -1;
  if (rawCall(SYS_fstat, found, reinterpret_cast<long>(&status)) == 0 && S_ISREG(status.st_mode) &&
      status.st_dev == static_cast<dev_t>(name.device) &&
      status.st_ino == static_cast<ino_t>(name.inode))
    opened = openAt("/proc/self/fd/", 0, nullptr, found, O_RDWR);
  rawCall(SYS_close, found);
  return opened;
}

/// Whether nobody can cut it short under us, and the page is one for us.
bool isEarlyPage(long memfd, long offset) {
  const long seals = rawCall(SYS_fcntl, memfd, F_GET_SEALS);
  if (seals < 0 || (seals & early::kSeals) != early::kSeals) return false;
  uint64_t magic = 0;
  const long read = rawCall(SYS_pread64, memfd, reinterpret_cast<long>(&magic), sizeof magic,
                            offset + static_cast<long>(early::kMagicAt));
  return read == sizeof magic && magic == early::kMagic;
}

/// Maps the page, if it's proven to be the agent's; null: any doubt.
char* mapPage(const PageName& name) {
  if (!procKnowsUs()) return nullptr;
  const long memfd = openMemfd(name);
  if (memfd < 0) return nullptr;
  long page = -1;
  if (isEarlyPage(memfd, name.offset))
    page = rawCall(SYS_mmap, 0, early::kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd,
                   name.offset);
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
  char** const list = environmentOf(entries);
  if (list == nullptr) return;
  PageName name{};
  const char* text = findPage(list);
  // Whoever else got hold of the variable would overwrite the worker's word.
  const bool isWorker = text != nullptr && parse(text, name) && rawCall(SYS_getppid) == name.agent;
  removeTraces(list, kOwnName, early::kVariable);
  char* const page = isWorker ? mapPage(name) : nullptr;
  if (page == nullptr) return;
  if (RobustList* const robust = robustList()) enqueue(robust, page);
}

}  // namespace
