#pragma once

#include <cstddef>
#include <cstdint>

/// Texts without libc. All end with a NUL.
namespace front {

size_t length(const char* text);
bool equal(const char* a, const char* b);
bool equal(const char* a, const char* b, size_t bytes);
bool beginsWith(const char* text, const char* head);
/// Behind the last slash; all of it where there's none.
const char* baseName(const char* path);
/// Bytes of `NAME` in `NAME=value`; of all of it where nothing is assigned.
size_t nameLength(const char* entry);
/// The value of a variable; null where it isn't set.
const char* valueOf(const char* name, char* const* env);

/// Fresh memory, full of zeros, for as long as we live. Null where there's none.
void* allocate(size_t bytes);

/// Composes a text in a place that's large enough.
class Writer {
 public:
  explicit Writer(char* at) : begin_(at), at_(at) { *at_ = '\0'; }
  Writer& add(const char* text) { return add(text, length(text)); }
  Writer& add(const char* text, size_t bytes);
  Writer& addNumber(uint64_t number, unsigned base = 10);
  size_t size() const { return static_cast<size_t>(at_ - begin_); }
  /// Where the next text will begin.
  char* end() { return at_; }

 private:
  char* begin_;
  char* at_;
};

/// The bytes of a 64-bit number in decimal, at most.
inline constexpr size_t kNumberBytes = 20;

}  // namespace front
