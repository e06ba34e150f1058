#include "front/node.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/syscall.h>

#include "core/base/raw.h"
#include "front/text.h"

namespace front {

namespace {

using regroup::rawCall;

constexpr char kNode[] = "node";
/// Where PATH isn't set. @source glibc 2.36, posix/execvpe.c: _CS_PATH
constexpr char kDefaultPath[] = "/bin:/usr/bin";

/// The path that's being tried, and the one that is told when it's the last.
char candidate[PATH_MAX];
char resolved[PATH_MAX];

long pointer(const void* at) {
  return reinterpret_cast<long>(at);
}

/// Whether all links lead to a file that's called node, nodejs or node-20.
bool isCalledNode(long fd) {
  char link[sizeof "/proc/self/fd/" + kNumberBytes];
  Writer(link).add("/proc/self/fd/").addNumber(static_cast<uint64_t>(fd));
  const long size =
      rawCall(SYS_readlinkat, AT_FDCWD, pointer(link), pointer(resolved), sizeof resolved - 1);
  if (size <= 0) return false;
  resolved[size] = '\0';
  return beginsWith(baseName(resolved), kNode);
}

struct Become {
  const char* name;
  char** argv;
  char* const* env;

  /// Returns only on failure. @returns an errno
  long operator()(const char* path) const {
    const long fd = rawCall(SYS_openat, AT_FDCWD, pointer(path), O_PATH | O_CLOEXEC);
    if (fd < 0) return -fd;
    argv[0] = const_cast<char*>(isCalledNode(fd) ? name : kNode);
    rawCall(SYS_close, fd);
    return -rawCall(SYS_execve, pointer(path), pointer(argv), pointer(env));
  }
};

/// `folder/name` into `candidate`. @returns false if that's too long
bool join(const char* folder, size_t bytes, const char* name) {
  if (bytes + 1 + length(name) >= sizeof candidate) return false;
  Writer path(candidate);
  // An empty entry of PATH is the working directory.
  path.add(bytes == 0 ? "." : folder, bytes == 0 ? 1 : bytes).add("/").add(name);
  return true;
}

/// Whether the next folder of PATH may have what this one hasn't.
bool isNotHere(long error) {
  return error == ENOENT || error == ENOTDIR || error == ENODEV || error == ESTALE ||
         error == ETIMEDOUT;
}

/// As execvp(3). Returns only on failure.
NoNode search(const char* name, const char* path, bool isNamed, const Become& become) {
  NoNode failure{isNamed ? name : nullptr, ENOENT, isNamed};
  while (true) {
    size_t bytes = 0;
    while (path[bytes] != '\0' && path[bytes] != ':') bytes++;
    if (join(path, bytes, name)) {
      const long error = become(candidate);
      if (!isNotHere(error) && error != EACCES) return {candidate, error, isNamed};
      if (error == EACCES) failure = {name, EACCES, isNamed};
    }
    if (path[bytes] == '\0') return failure;
    path += bytes + 1;
  }
}

bool hasSlash(const char* text) {
  for (; *text != '\0'; text++) {
    if (*text == '/') return true;
  }
  return false;
}

}  // namespace

NoNode becomeNode(const char* name, const char* folder, char** argv, char* const* env,
                  char* const* nodeEnv) {
  const Become become{name, argv, nodeEnv};
  const char* path = valueOf("PATH", env);
  if (path == nullptr) path = kDefaultPath;

  const char* const named = valueOf("REGROUP_NODE", env);
  if (named != nullptr && *named != '\0') {
    if (!hasSlash(named)) return search(named, path, true, become);
    return {named, become(named), true};
  }
  if (*folder != '\0' && join(folder, length(folder), kNode)) {
    const long error = become(candidate);
    if (!isNotHere(error)) return {candidate, error, false};
  }
  return search(kNode, path, false, become);
}

}  // namespace front
