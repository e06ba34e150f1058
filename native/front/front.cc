// The front program: what `regroup`, `regroup-launch` and `regroup-store` are until they become
// Node.
//
// Node's start sets every signal to its default action, unblocks all, raises the limit of open
// files and obeys NODE_OPTIONS. JavaScript can't tell any more what the caller had chosen: whether
// `nohup` was there, for one. So this runs first, notes it in the environment (environment.h), and
// becomes Node by execve: same process, same descriptors.
//
// As `<folder>/regroup` it runs `<folder>/regroup.cjs`. Called regroup_front, by the shell script
// that stands in its place where npm was told to run no install scripts, it's told that name, and
// what the shell has changed (shell.h).
//
// It has no libc, so that it can be linked and run anywhere, no heap, and one thread.

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

#include "core/base/raw.h"
#include "front/environment.h"
#include "front/node.h"
#include "front/shell.h"
#include "front/text.h"

using regroup::rawCall;

namespace front {

namespace {

constexpr char kOwnName[] = "regroup_front";
constexpr char kScriptSuffix[] = ".cjs";
/// As a shell ends for a command that isn't there, and for one that can't be run. lib/exit-codes.ts
/// has them too.
constexpr int kNoNode = 127;
constexpr int kNodeCannotRun = 126;
constexpr int kUsage = 2;

[[noreturn]] void exitWith(int code) {
  for (;;) rawCall(SYS_exit_group, code);
}

/// One line on stderr, of parts.
template <typename... Parts>
void say(Parts... parts) {
  char* const line = static_cast<char*>(allocate((length(parts) + ... + 2)));
  if (line == nullptr) return;
  Writer writer(line);
  (writer.add(parts), ...);
  writer.add("\n");
  rawCall(SYS_write, 2, reinterpret_cast<long>(line), static_cast<long>(writer.size()));
}

const char* textOf(long error) {
  switch (error) {
    case ENOENT:
      return "no such file";
    case EACCES:
      return "permission denied";
    case ENOEXEC:
      return "it's no program for this machine";
    case E2BIG:
      return "arguments and environment together are too large";
    case ENOMEM:
      return "there is too little memory";
    default:
      return "the kernel refuses it";
  }
}

[[noreturn]] void tellNoNode(const char* command, const NoNode& failure) {
  constexpr char kAdvice[] =
      "; regroup runs on Node.js 20.19 or newer, on PATH or named by REGROUP_NODE";
  if (failure.path == nullptr) {
    say(command, ": there is no node on PATH", kAdvice);
  } else {
    say(command, ": ", failure.isNamed ? "REGROUP_NODE=" : "", failure.path,
        " can't be run: ", textOf(failure.error), kAdvice);
  }
  exitWith(failure.error == ENOENT ? kNoNode : kNodeCannotRun);
}

/// The value of an entry that the kernel has put behind the environment. @source getauxval(3)
uint64_t auxiliary(char* const* env, uint64_t type) {
  while (*env != nullptr) env++;
  const auto* entry = reinterpret_cast<const uint64_t*>(env + 1);
  for (; entry[0] != AT_NULL; entry += 2) {
    if (entry[0] == type) return entry[1];
  }
  return 0;
}

/// Our own file, whatever links led to it. Without /proc, as we were called.
const char* ownPath(char* const* env) {
  static char path[PATH_MAX];
  const long size = rawCall(SYS_readlinkat, AT_FDCWD, reinterpret_cast<long>("/proc/self/exe"),
                            reinterpret_cast<long>(path), sizeof path - 1);
  if (size > 0) return path;
  return reinterpret_cast<const char*>(auxiliary(env, AT_EXECFN));
}

/// @param command `<folder>/regroup`, without links
/// @param argv of which the first is of no interest
[[noreturn]] void run(const char* command, char* const* argv, char* const* env) {
  const char* const name = baseName(command);
  const auto pid = static_cast<uint64_t>(rawCall(SYS_getpid));
  size_t count = 0;
  while (argv[count] != nullptr) count++;
  const size_t commandBytes = length(command);
  char** const nodeArgv = static_cast<char**>(allocate((count + 3) * sizeof(char*)));
  char* const script = static_cast<char*>(allocate(commandBytes + sizeof kScriptSuffix));
  char* const folder = static_cast<char*>(allocate(commandBytes + 1));
  char** const nodeEnv = environmentForNode(env, noteStarted(), pid);
  if (nodeArgv == nullptr || script == nullptr || folder == nullptr || nodeEnv == nullptr)
    tellNoNode(name, {command, ENOMEM, false});

  Writer(script).add(command).add(kScriptSuffix);
  // Without its slash. Empty where nobody has said one.
  if (name > command) Writer(folder).add(command, static_cast<size_t>(name - command - 1));
  // The first is becomeNode's.
  nodeArgv[1] = script;
  for (size_t i = 1; i < count; i++) nodeArgv[i + 1] = argv[i];
  tellNoNode(name, becomeNode(name, folder, nodeArgv, env, nodeEnv));
}

/// What the shell script asks for: `regroup_front --changed PID`, `regroup_front COMMAND CHANGED
/// ARGUMENTS…`.
[[noreturn]] void runForShell(char** argv, char* const* env) {
  const bool isWhole = argv[0] != nullptr && argv[1] != nullptr && argv[2] != nullptr;
  if (!isWhole) {
    say(kOwnName, ": give --changed PID, or COMMAND CHANGED ARGUMENTS…");
    exitWith(kUsage);
  }
  if (equal(argv[1], "--changed")) {
    printChanged(argv[2], env);
    exitWith(0);
  }
  char** const original = undoShell(env, argv[2]);
  if (original == nullptr) tellNoNode(baseName(argv[1]), {argv[1], ENOMEM, false});
  run(argv[1], argv + 2, original);
}

}  // namespace

/// @param stack as the kernel leaves it: argc, argv, null, environment, null, auxiliary entries
extern "C" [[noreturn, gnu::used]] void frontMain(long* stack) {
  char** const argv = reinterpret_cast<char**>(stack + 1);
  char** const env = argv + stack[0] + 1;
  const char* const path = ownPath(env);
  if (equal(baseName(path), kOwnName)) runForShell(argv, env);
  run(path, argv, env);
}

}  // namespace front

#if defined(__x86_64__)
asm(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall "
    "frontMain\n");
#elif defined(__aarch64__)
asm(".globl _start\n_start:\n\tmov x29, xzr\n\tmov x30, xzr\n\tmov x0, sp\n\tbl frontMain\n");
#endif
