#pragma once

#include <cstddef>
#include <cstdint>

/// The worker groups as the agent has told them: who of them is left when it has ended.
namespace guardian {

void beginGroup(uint64_t group, const char* cookie, size_t bytes);
void endGroup(uint64_t group);

/// A worker, which leads a session, and which the agent holds: its number can't be a stranger's.
void addLeader(uint64_t group, uint32_t pid);
/// The agent is about to let go of it. @param pid 0: of all of the group
void forgetLeader(uint64_t group, uint32_t pid);

/// Whoever belongs to the group is in its cgroups, and nowhere else.
void holdGroup(uint64_t group);

/// Whoever is left of it when the agent ends has so much time from now to end by itself.
void lingerGroup(uint64_t group, uint64_t milliseconds);

/// Those who linger have their turn after the others: until then they, and afterwards the others,
/// count for nothing in what follows.
void turnToLingering();
bool hasTurn(uint64_t group);
/// When the last of them has no time left, by CLOCK_MONOTONIC.
long lingersUntilMs();

bool anyGroup();
/// Whether there was room for all that the agent has told of.
bool knowsAll();
void noteUnknown();
/// Whether each worker that was the agent's when it ended has ended, as its pidfd tells.
bool haveLeadersEnded();
/// Whether there's a group that cgroups don't hold: then /proc is looked through.
bool anyLoose();

/// SIGKILL to each worker and its process group.
void killLeaders();
/// The same while the agent lives, and to whoever is in the cgroups of a group that has workers.
void killWorkers();

/// Whether a session is one of a worker's. A number that the kernel has given to somebody else
/// since then isn't. @param pid in that session
bool isOurs(uint64_t session, uint32_t pid);

/// Whether an entry of an environment is a group's cookie.
bool isCookie(const char* entry, size_t bytes);
constexpr size_t kMaxCookieEntry = 128;

/// From now on strangers may get the numbers that the agent held.
void noteAgentEnd();

long nowMs();

}  // namespace guardian
