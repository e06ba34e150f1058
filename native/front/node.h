#pragma once

namespace front {

/// Why there's no Node, for people and for the exit code.
struct NoNode {
  const char* path;  // what was tried last; null: PATH has none
  long error;        // an errno
  bool isNamed;      // by REGROUP_NODE
};

/// Becomes Node: the one that REGROUP_NODE names, else the one in `folder`, else PATH's, as
/// `#!/usr/bin/env node` has it. Returns only if that can't be.
///
/// @param argv its first is replaced: ps shows `name` there, unless what's called node is another
/// program, which goes by
///   the name it's called by: volta, mise and snap have such links
/// @param env where REGROUP_NODE and PATH are looked for; `nodeEnv` is Node's
NoNode becomeNode(const char* name, const char* folder, char** argv, char* const* env,
                  char* const* nodeEnv);

}  // namespace front
