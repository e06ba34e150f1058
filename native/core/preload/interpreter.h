#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace regroup {

/// Whether a program takes a library that LD_PRELOAD names, and can be rid of the variable: our
/// libraries take it out themselves, before main(). Whatever isn't Fine gets none.
enum class Preload : uint8_t {
  Fine,
  Unread,        // nobody may read the file, or its disk doesn't answer
  NotElf,        // a script, whose interpreter and children would inherit the variable
  OtherMachine,  // the linker would complain
  Static,        // nobody would load it
  Privileged,    // set-user-id and the like: the linker ignores it
  NotPython,     // whatever else may start Python anywhere, in a container that lacks the file, say
  Sanitized,     // ends at once if its sanitizer's library isn't the first
};

/// Reads a file's bytes from `offset` on. @returns how many; fewer at its end
using ReadAt = std::function<size_t(uint64_t offset, std::span<char> bytes)>;

/// What the program's file says; a few kilobytes of it are read, and its dynamic symbols' names.
/// @returns neither Unread nor Privileged
Preload inspectProgram(const ReadAt& readAt);

}  // namespace regroup
