#pragma once

#include <cstdint>
#include <optional>
#include <type_traits>
#include <vector>

namespace regroup {

/// Where the kernel takes a worker's memory from.
struct MemoryPolicy {
  enum class Mode : uint8_t {
    Bind,       // these nodes only: out of memory there, though others have some
    Preferred,  // these nodes first
    Interleave,
    Local,  // the node of the CPU that touches it first; no nodes
  };
  Mode mode;
  std::vector<uint32_t> nodes;
};

/// The CPUs and the memory that a worker is bound to. Both outlive its execve.
struct Binding {
  std::optional<std::vector<uint32_t>> cpus;
  std::optional<MemoryPolicy> memory;
  // What the kernel refuses of these is told, and doesn't fail the start.
  bool optionalCpus = false;
  bool optionalMemory = false;
};

/// What the child hands to the kernel: pointers into a PreparedBinding. Null: nothing.
struct BindingCalls {
  const uint64_t* cpus;
  long cpuBytes;
  const uint64_t* nodes;
  long nodeBits;
  long mode;  // of set_mempolicy; negative: nothing
  /// Where several preferred nodes are unknown to the kernel: the first of them. Null: no fallback.
  const uint64_t* firstNode;
  bool optionalCpus;
  bool optionalMemory;
};
static_assert(std::is_trivially_destructible_v<BindingCalls>);

constexpr long kPreferred = 1;  // MPOL_PREFERRED, which takes one node

/// Owns what BindingCalls point to. The masks are as large as the highest number in them asks, so
/// that machines with more CPUs than a cpu_set_t holds need nothing special.
class PreparedBinding {
 public:
  PreparedBinding() = default;
  explicit PreparedBinding(const Binding& binding);

  BindingCalls calls() const;

 private:
  std::optional<std::vector<uint64_t>> cpus_;
  std::vector<uint64_t> nodes_;
  std::vector<uint64_t> firstNode_;
  long mode_ = -1;
  bool optionalCpus_ = false;
  bool optionalMemory_ = false;
};

}  // namespace regroup
