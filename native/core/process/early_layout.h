#pragma once

#include <fcntl.h>

#include <cstddef>
#include <cstdint>

/// What the agent and the library in its workers agree on; see docs/early-notice.md.
///
/// Each worker has a page of its own in one memfd of its group, so that one that scribbles over its
/// page harms nobody else. On it lies one entry of the main thread's robust list, as glibc lays out
/// a mutex: the futex word first, the list's links behind it.
namespace regroup::early {

/// The worker's variable: `<agent's pid>:<descriptor in the agent>:<offset of the page>:<device>:
/// <inode>`. The last two tell the memfd from whatever else the first two may name, in a pid
/// namespace that has another one's /proc.
constexpr char kVariable[] = "REGROUP_EARLY";

constexpr size_t kLinkAt = 32;  // of the next entry; the link back lies before it, as in glibc
constexpr long kWordFromLink = -static_cast<long>(kLinkAt);
constexpr size_t kMagicAt = 56;
constexpr size_t kPageBytes = 64;  // what's used of it

/// In every page from the start.
constexpr uint64_t kMagic = 0x5265'6772'6f75'7031;
/// A worker that could shrink the memfd would make the agent fault, and the other way round.
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// The kernel's: linux/futex.h.
constexpr uint32_t kWaiters = 0x80000000;
constexpr uint32_t kOwnerDied = 0x40000000;

}  // namespace regroup::early
