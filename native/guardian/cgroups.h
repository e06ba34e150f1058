#pragma once

#include <cstddef>
#include <cstdint>

/// The cgroups that the agent made, as the guardian knows them: by their folders' paths.
namespace guardian {

void addCgroup(uint64_t group, const char* path, size_t bytes);
void endCgroups(uint64_t group);

/// Kills whoever is in one of such a group, whatever it did to hide. @returns whether anybody was
bool killCgroups(bool (*isMeant)(uint64_t group));

// Of those whose groups have their turn: see groups.h.

bool anyInCgroups();
/// Removes those that are empty. @returns whether all are gone
bool removeCgroups();

// Of all.

enum class CgroupsLeft { None, Empty, Populated };
/// Removes those that are empty. @returns what's left; Populated where somebody is in one
CgroupsLeft removeEmptyCgroups();

}  // namespace guardian
