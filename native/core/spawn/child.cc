#include "core/spawn/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "core/base/clone.h"
#include "core/base/dir_entry.h"
#include "core/base/raw.h"

// Until execve the child runs on the parent's memory while the parent's other threads go on.
// So: no allocation, no lock, no stdio, no errno, nothing that the dynamic linker or a sanitizer
// might hook — only raw system calls, one list of them, and the report.
#define CHILD \
  [[gnu::no_sanitize("address", "undefined", "thread"), gnu::no_profile_instrument_function]]

namespace regroup {

namespace {

constexpr int kTextBusyRetries = 3;
constexpr uint64_t kDefaultAction = 0;  // SIG_DFL and SIG_IGN, as the kernel has them
constexpr uint64_t kIgnore = 1;
constexpr long kIoPriorityOfProcess = 1;  // IOPRIO_WHO_PROCESS, which no header of libc has

[[gnu::always_inline]] inline long pointer(const void* p) {
  return reinterpret_cast<long>(p);
}

[[noreturn]] CHILD void giveUp(ChildReport* report, long error) {
  report->error = static_cast<int>(-error);
  while (true) rawCall(SYS_exit_group, 127);
}

#define CHECKED(call) \
  if (const long error = (call); error < 0) giveUp(report, error)

CHILD void becomeStdio(const SpawnPlan& plan, ChildReport* report) {
  for (int i = 0; i < plan.fdCount; i++) {
    const int source = plan.fds[i];
    if (source != i) {
      CHECKED(rawCall(SYS_dup3, source, i, 0));
      continue;
    }
    // dup2(x, x) would leave close-on-exec set, which Node puts even on 0, 1 and 2.
    CHECKED(rawCall(SYS_fcntl, i, F_SETFD, 0));
    if (i > 2) continue;
    // Node makes a piped stdout non-blocking, and the flag is shared; Python's print would die
    // of BlockingIOError. Our own writes to it block from now on, which libuv does as well.
    const long flags = rawCall(SYS_fcntl, i, F_GETFL);
    if (flags & O_NONBLOCK) CHECKED(rawCall(SYS_fcntl, i, F_SETFL, flags & ~O_NONBLOCK));
  }
}

/// Fallback: kernel < 5.9 has no close_range. Ours are close-on-exec anyway; this is for the
/// descriptors of the host's other addons. So where /proc is missing, it's left undone.
CHILD void closeByList(int first) {
  const long folder =
      rawCall(SYS_openat, AT_FDCWD, pointer("/proc/self/fd"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  alignas(DirEntry) char buffer[4096];
  long filled;
  while ((filled = rawCall(SYS_getdents64, folder, pointer(buffer), sizeof buffer)) > 0) {
    for (long at = 0; at < filled;) {
      const auto* entry = reinterpret_cast<const DirEntry*>(buffer + at);
      at += entry->bytes;
      long fd = 0;
      const char* digit = entry->name;
      for (; *digit >= '0' && *digit <= '9'; digit++) fd = fd * 10 + (*digit - '0');
      if (*digit == '\0' && fd >= first && fd != folder) rawCall(SYS_close, fd);
    }
  }
  rawCall(SYS_close, folder);
}

CHILD void setSignals(uint64_t signals, uint64_t handler, ChildReport* report) {
  uint64_t action[8] = {handler};  // the kernel's sigaction: no flags, empty mask
  for (int signal = 1; signal <= 64; signal++) {
    if (signal == SIGKILL || signal == SIGSTOP || !(signals >> (signal - 1) & 1)) continue;
    CHECKED(rawCall(SYS_rt_sigaction, signal, pointer(action), 0, sizeof(uint64_t)));
  }
}

CHILD long bindMemory(const BindingCalls& binding) {
  const long error =
      rawCall(SYS_set_mempolicy, binding.mode, pointer(binding.nodes), binding.nodeBits);
  if (error != -EINVAL || binding.firstNode == nullptr) return error;
  // Fallback: kernel < 5.15 prefers one node at most.
  return rawCall(SYS_set_mempolicy, kPreferred, pointer(binding.firstNode), binding.nodeBits);
}

CHILD void joinCgroups(const SpawnPlan& plan, ChildReport* report) {
  const char self = '0';
  if (plan.cgroupProcs >= 0) {
    // Fallback: kernel < 5.7 has no CLONE_INTO_CGROUP. Refused, it's found by its cookie still.
    const long error = rawCall(SYS_write, plan.cgroupProcs, pointer(&self), 1);
    if (error < 0 && plan.cgroupLimits) giveUp(report, error);
    if (error < 0) report->cgroupError = static_cast<int>(-error);
  }
  for (int i = 0; i < plan.limitProcsCount; i++)
    CHECKED(rawCall(SYS_write, plan.limitProcs[i], pointer(&self), 1));
}

/// Before anything of the new image is touched, so that its pages are in the right place.
CHILD void applyBinding(const BindingCalls& binding, ChildReport* report) {
  report->step = StartStep::Affinity;
  if (binding.cpus != nullptr) {
    const long error = rawCall(SYS_sched_setaffinity, 0, binding.cpuBytes, pointer(binding.cpus));
    if (error < 0 && !binding.optionalCpus) giveUp(report, error);
    if (error < 0) report->affinityError = static_cast<int>(-error);
  }

  report->step = StartStep::Memory;
  if (binding.mode >= 0) {
    const long error = bindMemory(binding);
    if (error < 0 && !binding.optionalMemory) giveUp(report, error);
    if (error < 0) report->memoryError = static_cast<int>(-error);
  }
}

CHILD void lowerNofile(rlim_t soft, ChildReport* report) {
  uint64_t limit[2];
  CHECKED(rawCall(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, pointer(limit)));
  if (soft >= limit[0]) return;
  limit[0] = soft;
  CHECKED(rawCall(SYS_prlimit64, 0, RLIMIT_NOFILE, pointer(limit), 0));
}

/// A soft limit that isn't asked for goes down with the hard one: above it's EINVAL.
CHILD long limitResource(const ResourceLimit& asked) {
  uint64_t limit[2];
  const long error = rawCall(SYS_prlimit64, 0, asked.resource, 0, pointer(limit));
  if (error < 0) return error;
  if (asked.setsHard) limit[1] = asked.hard;
  if (asked.setsSoft)
    limit[0] = asked.soft;
  else if (limit[0] > limit[1])
    limit[0] = limit[1];
  return rawCall(SYS_prlimit64, 0, asked.resource, pointer(limit), 0);
}

/// The kernel gives a process that shares its memory with another the same score, which would be
/// ours; not so one that was made by vfork and hasn't exec'd.
/// @source Linux 4.18, fs/proc/base.c, __set_oom_adj
CHILD long adjustOomScore(const char* text, long bytes) {
  const long file =
      rawCall(SYS_openat, AT_FDCWD, pointer("/proc/self/oom_score_adj"), O_WRONLY | O_CLOEXEC);
  if (file < 0) return file;
  const long written = rawCall(SYS_write, file, pointer(text), bytes);
  rawCall(SYS_close, file);
  return written;
}

/// The resource limits are last: one of open files would be in the way of the others.
CHILD void applyLimits(const SpawnPlan& plan, ChildReport* report) {
  const LimitCalls& limits = plan.limits;
  report->step = StartStep::Umask;
  if (limits.umask != nullptr) CHECKED(rawCall(SYS_umask, *limits.umask));

  report->step = StartStep::Nice;
  if (limits.nice != nullptr) CHECKED(rawCall(SYS_setpriority, PRIO_PROCESS, 0, *limits.nice));

  report->step = StartStep::IoPriority;
  if (limits.ioPriority != nullptr)
    CHECKED(rawCall(SYS_ioprio_set, kIoPriorityOfProcess, 0, *limits.ioPriority));

  report->step = StartStep::OomScoreAdj;
  if (limits.oomScoreAdj != nullptr)
    CHECKED(adjustOomScore(limits.oomScoreAdj, limits.oomScoreAdjBytes));

  report->step = StartStep::Rlimits;
  if (plan.nofileSoft != nullptr) lowerNofile(*plan.nofileSoft, report);
  for (int i = 0; i < limits.resourceCount; i++) {
    report->resource = i;
    CHECKED(limitResource(limits.resources[i]));
  }
}

/// ETXTBSY: another thread's child, between its clone and its execve, still holds the
/// descriptor through which the file was just written. It's gone in a moment.
CHILD long execute(const SpawnPlan& plan, const char* path) {
  long error = 0;
  for (int attempt = 0; attempt <= kTextBusyRetries; attempt++) {
    error = rawCall(SYS_execve, pointer(path), pointer(plan.argv), pointer(plan.envp));
    if (error != -ETXTBSY) break;
    const timespec pause{0, 1'000'000L << attempt};
    rawCall(SYS_nanosleep, pointer(&pause), 0);
  }
  return error;
}

/// Errors that mean: it isn't here, maybe in the next folder.
CHILD bool isElsewhere(long error) {
  return error == -ENOENT || error == -ENOTDIR || error == -EACCES || error == -ESTALE ||
         error == -ENODEV || error == -ETIMEDOUT || error == -ELOOP || error == -ENAMETOOLONG;
}

/// As execvp: the first that can be run, and EACCES beats ENOENT.
/// @source glibc 2.36, posix/execvpe.c, __execvpe_common
CHILD long executeAny(const SpawnPlan& plan, ChildReport* report) {
  long error = -ENOENT;
  int refused = -1;
  for (int i = 0; i < plan.pathCount; i++) {
    report->path = i;
    error = execute(plan, plan.paths[i]);
    if (plan.pathCount == 1 || !isElsewhere(error)) return error;
    if (error == -EACCES && refused < 0) refused = i;
  }
  if (refused < 0) return -ENOENT;
  report->path = refused;
  return -EACCES;
}

}  // namespace

CHILD void runChild(void* task) {
  const SpawnPlan& plan = *static_cast<ChildTask*>(task)->plan;
  ChildReport* report = static_cast<ChildTask*>(task)->report;

  // For who mustn't wait for us without end: SpawnPlan's thread does.
  __atomic_store_n(&report->pid, static_cast<pid_t>(rawCall(SYS_getpid)), __ATOMIC_RELEASE);
  // Each step is noted first, so that a death without a word tells how far it got.
  report->step = StartStep::Session;
  // Its own session and group, as torchrun's start_new_session: Ctrl-C reaches only the agent.
  CHECKED(rawCall(SYS_setsid));

  report->step = StartStep::ParentDeath;
  if (!plan.outlivesUs) {
    // The signal follows the *thread* that spawned; ours lives as long as the supervisor.
    CHECKED(rawCall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL));
    // The agent may have died before the line above took effect; nobody would tell us.
    if (rawCall(SYS_getppid) != plan.agentPid) giveUp(report, -ESRCH);
  }

  report->step = StartStep::Cgroup;
  joinCgroups(plan, report);

  applyBinding(plan.binding, report);

  report->step = StartStep::Stdio;
  becomeStdio(plan, report);
  if (!plan.closeRange || rawCall(kSysCloseRange, plan.fdCount, ~0u, 0) < 0)
    closeByList(plan.fdCount);

  report->step = StartStep::Signals;
  // Ignored dispositions survive execve: Node ignores SIGPIPE, which shells and NCCL's helpers
  // would inherit.
  setSignals(plan.resetSignals, kDefaultAction, report);
  setSignals(plan.ignoredSignals, kIgnore, report);

  applyLimits(plan, report);

  report->step = StartStep::Cwd;
  if (plan.cwd != nullptr) CHECKED(rawCall(SYS_chdir, pointer(plan.cwd)));

  report->step = StartStep::Exec;
  // Last, since a signal may come at once.
  CHECKED(rawCall(SYS_rt_sigprocmask, SIG_SETMASK, pointer(&plan.blockedSignals), 0,
                  sizeof plan.blockedSignals));
  giveUp(report, executeAny(plan, report));
}

}  // namespace regroup
