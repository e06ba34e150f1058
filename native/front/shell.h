#pragma once

#include <cstdint>

/// What the shell script in the front program's place needs (front.sh): a shell drops variables
/// whose names aren't its own (`BASH_FUNC_ml%%`, `a.b`, bytes that aren't UTF-8) and changes others
/// (`PWD`, `_`, `SHLVL`), and workers shall have the caller's.
namespace front {

/// Prints what of the environment that the process `pid` was started with isn't in ours, `env`, in
/// a form that `undoShell` takes as an argument.
void printChanged(const char* pid, char* const* env);

/// The environment that the shell was started with: ours and what `printChanged` has said. Null
/// where there's no memory.
char** undoShell(char* const* env, char* changed);

}  // namespace front
