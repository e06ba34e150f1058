#pragma once

#include "core/base/features.h"
#include "core/spawn/process.h"

namespace regroup {

/// Whom a signal reaches.
enum class Target : uint8_t {
  Leader,  // the worker itself: a trainer's data loaders must live until it has saved
  Group,   // its whole process group: a shell doesn't pass signals on
};

/// Whether the pid, and so the group's number, is still held by our unreaped child. If not,
/// somebody else in this process took its status, and the number may be a stranger's.
bool holdsPid(const Process& process);

/// Failures aren't told: the worker may have gone, or changed its user; its end, or the bound
/// on waiting for it, will tell. Strangers aren't hit.
void signalWorker(const Process& process, int signal, Target target, const Features& features);

/// A stopped process keeps a signal pending until it continues; SIGKILL needs no help.
void continueWorker(const Process& process, Target target, const Features& features);

}  // namespace regroup
