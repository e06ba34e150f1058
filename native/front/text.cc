#include "front/text.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "core/base/raw.h"

namespace front {

size_t length(const char* text) {
  size_t bytes = 0;
  while (text[bytes] != '\0') bytes++;
  return bytes;
}

bool equal(const char* a, const char* b, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

bool equal(const char* a, const char* b) {
  const size_t bytes = length(a);
  return bytes == length(b) && equal(a, b, bytes);
}

bool beginsWith(const char* text, const char* head) {
  for (; *head != '\0'; text++, head++) {
    if (*text != *head) return false;
  }
  return true;
}

const char* baseName(const char* path) {
  const char* base = path;
  for (; *path != '\0'; path++) {
    if (*path == '/') base = path + 1;
  }
  return base;
}

size_t nameLength(const char* entry) {
  size_t bytes = 0;
  while (entry[bytes] != '\0' && entry[bytes] != '=') bytes++;
  return bytes;
}

const char* valueOf(const char* name, char* const* env) {
  const size_t bytes = length(name);
  for (; *env != nullptr; env++) {
    if (nameLength(*env) == bytes && equal(*env, name, bytes) && (*env)[bytes] == '=')
      return *env + bytes + 1;
  }
  return nullptr;
}

void* allocate(size_t bytes) {
  const long at = regroup::rawCall(SYS_mmap, 0, static_cast<long>(bytes), PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return at < 0 ? nullptr : reinterpret_cast<void*>(at);
}

Writer& Writer::add(const char* text, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) *at_++ = text[i];
  *at_ = '\0';
  return *this;
}

Writer& Writer::addNumber(uint64_t number, unsigned base) {
  char digits[kNumberBytes];
  size_t count = 0;
  do {
    digits[count++] = "0123456789abcdef"[number % base];
  } while (number /= base);
  while (count > 0) *at_++ = digits[--count];
  *at_ = '\0';
  return *this;
}

}  // namespace front
