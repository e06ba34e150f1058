#pragma once

#include <cstdint>
#include <string_view>

namespace regroup {

/// What makes a hash differ from process to process, so that nobody outside can make keys collide.
struct HashKey {
  uint64_t low;
  uint64_t high;

  /// Random, and another one each time. Without getrandom(2), which a filter may forbid, of what
  /// the kernel gave the process at its start.
  static HashKey random();
};

/// SipHash-1-3, as Rust's maps and Python's use it.
/// @source J.-P. Aumasson, D. J. Bernstein, SipHash: a fast short-input PRF, 2012
uint64_t sipHash13(const HashKey& key, std::string_view bytes);

}  // namespace regroup
