#pragma once

#include <cstddef>
#include <utility>

#include "core/base/fd.h"
#include "core/base/result.h"

namespace regroup {

/// Owns mapped memory, which can be read and written.
///
/// Invariant: holds a mapping or nothing; it's unmapped exactly once, and never moves.
class Mapping {
 public:
  /// Memory without a file: zeros. `flags`: MAP_SHARED or MAP_PRIVATE, and more.
  static Result<Mapping> anonymous(size_t bytes, int flags);
  /// The beginning of a file, shared with whoever else maps it.
  static Result<Mapping> ofFile(const Fd& file, size_t bytes);

  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping();

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

  /// Leaves it out of processes that fork from ours, as far as the kernel can.
  void keepFromForks() const;

 private:
  Mapping(std::byte* data, size_t bytes) : data_(data), bytes_(bytes) {}
  static Result<Mapping> map(size_t bytes, int flags, int fd);

  std::byte* data_;
  size_t bytes_;
};

}  // namespace regroup
