#pragma once

#include <cstddef>
#include <utility>

#include "core/base/fd.h"
#include "core/base/mapping.h"
#include "core/base/result.h"

namespace regroup::shm {

/// Memory that we may write and others may only read: a memfd whose size is sealed.
///
/// Invariant: the descriptor can't be used to write, map writable or resize. Where the kernel has
/// F_SEAL_FUTURE_WRITE nobody else can, by no way. Elsewhere a process of the same user could
/// still open it anew through /proc: protection from accidents only.
class Segment {
 public:
  /// `bytes` are rounded up to pages; they're zero, and take memory when they're touched.
  /// Fails with the kernel's word: a filter may refuse memfd_create.
  ///
  /// @param sealFutureWrite false: do as on a kernel without F_SEAL_FUTURE_WRITE
  static Result<Segment> create(size_t bytes, bool sealFutureWrite = true);

  std::byte* memory() const { return memory_.data(); }
  size_t bytes() const { return memory_.bytes(); }
  /// For the readers.
  const Fd& fd() const { return fd_; }
  bool writeSealed() const { return writeSealed_; }

 private:
  explicit Segment(Mapping memory) : memory_(std::move(memory)) {}

  Mapping memory_;
  Fd fd_;
  bool writeSealed_ = false;
};

}  // namespace regroup::shm
