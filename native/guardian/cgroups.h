#pragma once

#include <cstddef>
#include <cstdint>

/// The cgroups that the agent made, as the guardian knows them: by their folders' paths.
namespace guardian {

void addCgroup(uint64_t group, const char* path, size_t bytes);
void endCgroups(uint64_t group);

/// Kills whoever is in one, whatever it did to hide. @returns whether anybody was
bool killCgroups();
/// Removes those that are empty. @returns whether all are gone
bool removeCgroups();

}  // namespace guardian
