#pragma once

#include <sys/resource.h>

#include <optional>

namespace regroup {

/// Raises the soft limit of open files to the hard one: a store has a descriptor for each of its
/// clients. Node does so at its start; an embedder may not.
///
/// Thread: any.
void raiseNofile();

/// The soft limit before it was raised, which is what workers get: some of them size a table by it,
/// or close each number up to it. Nothing where it wasn't us, and nobody has told. The limit is the
/// process's, and so is this.
///
/// Thread: any.
std::optional<rlim_t> nofileBeforeRaise();

/// Tells what it was before the host raised it.
///
/// Thread: any.
void setNofileBeforeRaise(rlim_t soft);

}  // namespace regroup
