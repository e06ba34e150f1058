#include "core/spawn/binding.h"

#include <algorithm>
#include <span>

namespace regroup {

namespace {

constexpr long kBind = 2;
constexpr long kInterleave = 3;
constexpr long kLocal = 4;          // 3.8
constexpr long kPreferredMany = 5;  // 5.15; older headers don't have it

constexpr size_t kWordBits = 64;

std::vector<uint64_t> toMask(std::span<const uint32_t> numbers) {
  const uint32_t highest = numbers.empty() ? 0 : *std::ranges::max_element(numbers);
  std::vector<uint64_t> words(highest / kWordBits + 1);
  for (const uint32_t number : numbers)
    words[number / kWordBits] |= uint64_t{1} << number % kWordBits;
  return words;
}

long modeOf(const MemoryPolicy& memory) {
  switch (memory.mode) {
    case MemoryPolicy::Mode::Bind:
      return kBind;
    case MemoryPolicy::Mode::Preferred:
      return memory.nodes.size() > 1 ? kPreferredMany : kPreferred;
    case MemoryPolicy::Mode::Interleave:
      return kInterleave;
    case MemoryPolicy::Mode::Local:
      return kLocal;
  }
  return -1;
}

}  // namespace

PreparedBinding::PreparedBinding(const Binding& binding)
    : optionalCpus_(binding.optionalCpus), optionalMemory_(binding.optionalMemory) {
  if (binding.cpus) cpus_ = toMask(*binding.cpus);
  if (!binding.memory) return;
  const MemoryPolicy& memory = *binding.memory;
  mode_ = modeOf(memory);
  if (mode_ == kLocal) return;
  nodes_ = toMask(memory.nodes);
  if (mode_ != kPreferredMany) return;
  firstNode_ = toMask(std::span(memory.nodes).first(1));
  firstNode_.resize(nodes_.size());
}

BindingCalls PreparedBinding::calls() const {
  BindingCalls calls{};
  if (cpus_) {
    calls.cpus = cpus_->data();
    calls.cpuBytes = static_cast<long>(cpus_->size() * sizeof(uint64_t));
  }
  calls.mode = mode_;
  if (!nodes_.empty()) {
    calls.nodes = nodes_.data();
    // The kernel looks at one bit fewer.
    calls.nodeBits = static_cast<long>(nodes_.size() * kWordBits + 1);
  }
  if (!firstNode_.empty()) calls.firstNode = firstNode_.data();
  calls.optionalCpus = optionalCpus_;
  calls.optionalMemory = optionalMemory_;
  return calls;
}

}  // namespace regroup
