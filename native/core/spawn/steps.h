#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace regroup {

/// The steps of a worker's start, in the order in which they're taken.
enum class StartStep : uint8_t {
  Resolve,  // before the spawn
  Output,
  Spawn,    // nothing of the child's has begun
  Session,  // from here on the child's own: child.cc
  ParentDeath,
  Cgroup,
  Affinity,
  Memory,
  Stdio,
  Signals,
  Umask,
  Nice,
  IoPriority,
  OomScoreAdj,
  Rlimits,
  Cwd,
  Exec,
  KilledBeforeExec,  // SIGKILL came before the last one, without a word
};

/// What's told of a step that failed.
struct StartStepRow {
  StartStep step;
  const char* name;  // as lib/native/events.ts and messages have it
  const char* call;  // the system call that the error came from; empty: the error names it
};

inline constexpr StartStepRow kStartSteps[] = {
    {StartStep::Resolve, "resolve", ""},
    {StartStep::Output, "output", ""},
    {StartStep::Spawn, "spawn", "clone"},
    {StartStep::Session, "session", "setsid"},
    {StartStep::ParentDeath, "parent-death", "prctl"},
    {StartStep::Cgroup, "cgroup", "write"},
    {StartStep::Affinity, "affinity", "sched_setaffinity"},
    {StartStep::Memory, "memory", "set_mempolicy"},
    {StartStep::Stdio, "stdio", "dup2"},
    {StartStep::Signals, "signals", "rt_sigaction"},
    {StartStep::Umask, "umask", "umask"},
    {StartStep::Nice, "nice", "setpriority"},
    {StartStep::IoPriority, "ionice", "ioprio_set"},
    {StartStep::OomScoreAdj, "oom-score-adj", "write"},
    {StartStep::Rlimits, "rlimits", "prlimit"},
    {StartStep::Cwd, "cwd", "chdir"},
    {StartStep::Exec, "exec", "execve"},
    {StartStep::KilledBeforeExec, "killed-before-exec", ""},
};

constexpr const StartStepRow& rowOf(StartStep step) {
  return kStartSteps[static_cast<size_t>(step)];
}

constexpr bool startStepsAreInOrder() {
  for (size_t i = 0; i < std::size(kStartSteps); i++)
    if (static_cast<size_t>(kStartSteps[i].step) != i) return false;
  return true;
}
static_assert(startStepsAreInOrder());
static_assert(std::size(kStartSteps) == static_cast<size_t>(StartStep::KilledBeforeExec) + 1);

}  // namespace regroup
