#pragma once

#include <cstdint>

/// What Node gets as its environment, and what the agent learns by it.
///
/// lib/cli/process/start.ts reads it, and gives workers what we were given. Both know the names of what
/// follows.
namespace front {

/// What Node's start changes for good: JavaScript can't ask any more.
struct Started {
  uint64_t ignored;  // signals, bit 0 is signal 1
  uint64_t blocked;
  uint64_t nofileSoft;  // ~0: unlimited
};
Started noteStarted();

/// The entries of `env`, in their order, but that
/// - `REGROUP_FRONT=<pid> <ignored> <blocked> <soft limit of open files>` leads, the masks in
/// base 16. It counts for
///   the process with this pid only, so that nobody is misled by one that was handed on;
/// - `NODE_*` is called `REGROUP_FRONT_NODE_*`: Node obeys some (options, certificates that take it
/// 50 ms to read,
///   files to load first), and workers shall have all.
///
/// Null where there's no memory.
char** environmentForNode(char* const* env, const Started& started, uint64_t pid);

}  // namespace front
