#pragma once

#include "preload/text.h"

extern "C" {
/// The C library's list, if it has set it up by now.
[[gnu::weak]] extern char** environ;
}

/// How a preloaded library takes its traces out of the environment, so that neither the program nor
/// what that starts sees them.
///
/// Thread: main, before main().
namespace regroup {

/// @param entries the constructor's argument. The C library's list is the same array, unless
/// somebody
///   preloaded before us has moved it.
inline char** environmentOf(char** entries) {
  return &environ != nullptr && environ != nullptr ? environ : entries;
}

/// The value, if `entry` is the variable's.
inline char* valueOf(char* entry, const char* name) {
  const size_t length = lengthOf(name);
  return isEqual(entry, name, length) && entry[length] == '=' ? entry + length + 1 : nullptr;
}

/// Takes the path that ends with `library` out of what's preloaded. @returns whether nothing is
/// left
inline bool removeLibrary(char* value, const char* library) {
  const size_t name = lengthOf(library);
  const size_t length = lengthOf(value);
  // The last of that name is ours: what the user preloads comes first.
  for (size_t end = length; end >= name; end--) {
    const bool whole = end == length || value[end] == ':';
    if (!whole || !isEqual(value + end - name, library, name)) continue;
    size_t start = end - name;
    while (start > 0 && value[start - 1] != ':') start--;
    // With one of the colons around it.
    const char* rest = value[end] == ':' ? value + end + 1 : value + end;
    if (*rest == '\0' && start > 0) start--;
    char* to = value + start;
    while (*rest != '\0') *to++ = *rest++;
    *to = '\0';
    return to == value;
  }
  return false;
}

/// Removes `library` from what's preloaded, and a variable of ours.
/// @param library its file's name, behind a slash
/// @param variable null: there's none
inline void removeTraces(char** entries, const char* library, const char* variable) {
  char** kept = entries;
  for (char** entry = entries; *entry != nullptr; entry++) {
    if (variable != nullptr && valueOf(*entry, variable) != nullptr) continue;
    char* const preload = valueOf(*entry, "LD_PRELOAD");
    if (preload != nullptr && removeLibrary(preload, library)) continue;
    *kept++ = *entry;
  }
  *kept = nullptr;
}

}  // namespace regroup
