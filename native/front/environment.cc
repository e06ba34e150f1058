#include "front/environment.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "core/base/raw.h"
#include "front/text.h"

namespace front {

namespace {

using regroup::rawCall;

constexpr char kNote[] = "REGROUP_FRONT=";
constexpr char kHidden[] = "REGROUP_FRONT_";
constexpr char kOfNode[] = "NODE_";
constexpr size_t kNoteBytes = sizeof kNote + 4 * (kNumberBytes + 1);

long pointer(const void* at) {
  return reinterpret_cast<long>(at);
}

/// Whether another front program has written it, and somebody handed it on. Workers never get any.
bool isAnothers(const char* entry) {
  return beginsWith(entry, kNote) ||
         (beginsWith(entry, kHidden) && beginsWith(entry + sizeof kHidden - 1, kOfNode));
}

}  // namespace

Started noteStarted() {
  Started started{};
  for (int signal = 1; signal <= 64; signal++) {
    // The kernel's sigaction: handler, flags, restorer (not on arm64), mask.
    uint64_t action[4] = {};
    if (rawCall(SYS_rt_sigaction, signal, 0, pointer(action), sizeof(uint64_t)) < 0) continue;
    if (action[0] == reinterpret_cast<uint64_t>(SIG_IGN))
      started.ignored |= uint64_t{1} << (signal - 1);
  }
  rawCall(SYS_rt_sigprocmask, SIG_BLOCK, 0, pointer(&started.blocked), sizeof started.blocked);
  uint64_t limit[2] = {~uint64_t{0}, ~uint64_t{0}};
  rawCall(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, pointer(limit));
  started.nofileSoft = limit[0];
  return started;
}

char** environmentForNode(char* const* env, const Started& started, uint64_t pid) {
  size_t count = 0;
  size_t hiddenBytes = 0;
  for (; env[count] != nullptr; count++) {
    if (beginsWith(env[count], kOfNode)) hiddenBytes += sizeof kHidden + length(env[count]);
  }
  auto* const entries = static_cast<char**>(allocate((count + 2) * sizeof(char*)));
  auto* const texts = static_cast<char*>(allocate(kNoteBytes + hiddenBytes));
  if (entries == nullptr || texts == nullptr) return nullptr;

  Writer note(texts);
  note.add(kNote).addNumber(pid).add(" ").addNumber(started.ignored, 16);
  note.add(" ").addNumber(started.blocked, 16).add(" ").addNumber(started.nofileSoft);
  char** next = entries;
  *next++ = texts;
  char* free = texts + kNoteBytes;
  for (; *env != nullptr; env++) {
    if (isAnothers(*env)) continue;
    if (!beginsWith(*env, kOfNode)) {
      *next++ = *env;
      continue;
    }
    *next++ = free;
    free = Writer(free).add(kHidden).add(*env).end() + 1;
  }
  *next = nullptr;
  return entries;
}

}  // namespace front
