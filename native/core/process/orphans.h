#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>

namespace regroup {

/// Reaps the zombies among our children that aren't `ours`: as process 1 of a container we inherit
/// every process whose parent has died, and nobody else waits for them.
///
/// By pid and never by waitpid(-1), which would take the statuses of workers. Costs some
/// microseconds per process of the container, and waits for none of them. Where /proc isn't our
/// namespace's nobody is reaped.
///
/// @returns how many
size_t reapOrphans(std::span<const pid_t> ours);

}  // namespace regroup
