#include "front/shell.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include "core/base/raw.h"
#include "front/text.h"

namespace front {

namespace {

using regroup::rawCall;

/// More than the kernel lets arguments and environment have together: 3/4 of the stack's usual 8
/// MB.
constexpr size_t kMaxEnvironBytes = 8 << 20;
/// MAX_ARG_STRLEN, less what a page may take: our words become one argument.
constexpr size_t kMaxChangedBytes = (128 << 10) - 4096;
/// Leads what `printChanged` says. Without it /proc told nothing, and the shell's words are the
/// best that there are.
constexpr char kRead = ':';

/// Variables that shells set on their own, to one value for the command that asks and to another
/// for the one that is executed.
constexpr const char* kShells[] = {"PWD", "OLDPWD", "SHLVL", "_"};

bool isShells(const char* entry) {
  const size_t bytes = nameLength(entry);
  for (const char* name : kShells) {
    if (length(name) == bytes && equal(name, entry, bytes)) return true;
  }
  return false;
}

bool isIn(const char* entry, char* const* env) {
  for (; *env != nullptr; env++) {
    if (equal(entry, *env)) return true;
  }
  return false;
}

/// @returns how much was read; 0 where nothing can be
size_t readEnviron(const char* pid, char* to, size_t capacity) {
  if (length(pid) > kNumberBytes) return 0;
  char path[sizeof "/proc//environ" + kNumberBytes];
  Writer(path).add("/proc/").add(pid).add("/environ");
  const long fd = rawCall(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  size_t size = 0;
  while (size < capacity) {
    const long more = rawCall(SYS_read, fd, reinterpret_cast<long>(to + size),
                              static_cast<long>(capacity - size));
    if (more <= 0) break;
    size += static_cast<size_t>(more);
  }
  rawCall(SYS_close, fd);
  return size;
}

void print(const char* text, size_t bytes) {
  while (bytes > 0) {
    const long written =
        rawCall(SYS_write, 1, reinterpret_cast<long>(text), static_cast<long>(bytes));
    if (written < 0) return;
    text += written;
    bytes -= static_cast<size_t>(written);
  }
}

int valueOfDigit(char digit) {
  return digit <= '9' ? digit - '0' : digit - 'a' + 10;
}

/// In its own place: two digits become one byte. @returns behind the last
char* fromHex(char* digits) {
  char* to = digits;
  for (; digits[0] != '\0' && digits[1] != '\0'; digits += 2)
    *to++ = static_cast<char>(valueOfDigit(digits[0]) << 4 | valueOfDigit(digits[1]));
  return to;
}

/// Whether the text, whose entries end with a NUL each, assigns to the variable that `entry` does.
bool isAssigned(const char* entry, const char* text, const char* end) {
  const size_t bytes = nameLength(entry);
  for (; text < end; text += length(text) + 1) {
    if (nameLength(text) == bytes && equal(text, entry, bytes)) return true;
  }
  return false;
}

}  // namespace

void printChanged(const char* pid, char* const* env) {
  auto* const original = static_cast<char*>(allocate(kMaxEnvironBytes + 1));
  auto* const words = static_cast<char*>(allocate(kMaxChangedBytes));
  if (original == nullptr || words == nullptr) return;
  const size_t size = readEnviron(pid, original, kMaxEnvironBytes);
  if (size == 0) return;

  Writer writer(words);
  writer.add(&kRead, 1);
  for (const char* entry = original; entry < original + size; entry += length(entry) + 1) {
    if (!isShells(entry) && isIn(entry, env)) continue;
    const size_t bytes = length(entry) + 1;
    if (writer.size() + 2 * bytes >= kMaxChangedBytes) continue;
    for (size_t i = 0; i < bytes; i++) {
      const auto byte = static_cast<unsigned char>(entry[i]);
      writer.addNumber(byte >> 4, 16).addNumber(byte & 15, 16);
    }
  }
  print(words, writer.size());
}

char** undoShell(char* const* env, char* changed) {
  size_t count = 0;
  while (env[count] != nullptr) count++;
  const bool isRead = *changed == kRead;
  char* const texts = changed + (isRead ? 1 : 0);
  char* const end = fromHex(texts);
  for (const char* text = texts; text < end; text += length(text) + 1) count++;
  auto* const entries = static_cast<char**>(allocate((count + 1) * sizeof(char*)));
  if (entries == nullptr) return nullptr;

  char** next = entries;
  for (; *env != nullptr; env++) {
    if (!isRead || (!isShells(*env) && !isAssigned(*env, texts, end))) *next++ = *env;
  }
  for (char* text = texts; text < end; text += length(text) + 1) *next++ = text;
  *next = nullptr;
  return entries;
}

}  // namespace front
