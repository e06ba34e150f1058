#pragma once

#include <cstddef>
#include <cstdint>

/// What the agent and the library in its workers agree on; see docs/early-notice.md.
///
/// Each worker has a page of its own in one memfd of its group, so that one that scribbles over its
/// page harms nobody else. On it lies one entry of the main thread's robust list, as glibc lays out
/// a mutex: the futex word first, the list's links behind it.
namespace regroup::early {

/// The worker's variable: `<agent's pid>:<descriptor in the agent>:<offset of the page>`.
constexpr char kVariable[] = "REGROUP_EARLY";

constexpr size_t kLinkAt = 32;  // of the next entry; the link back lies before it, as in glibc
constexpr long kWordFromLink = -static_cast<long>(kLinkAt);
constexpr size_t kPageBytes = 64;  // what's used of it

// The kernel's: linux/futex.h.
constexpr uint32_t kWaiters = 0x80000000;
constexpr uint32_t kOwnerDied = 0x40000000;

}  // namespace regroup::early
