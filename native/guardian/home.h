#pragma once

#include <cstddef>
#include <cstdint>

/// The agent's own cgroup of version 2, where it shared out controllers, and may have moved all that was in
/// it, itself and us as well, into one below.
namespace guardian {

/// @param controllers as bits, in the order of core/cgroup/usage.h
void setHome(uint64_t controllers, const char* path, size_t bytes);
void setLeaf(const char* path, size_t bytes);

/// Brings back what was changed. No cgroup of a group may be left.
void restoreHome();

}  // namespace guardian
