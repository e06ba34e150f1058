#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/features.h"
#include "core/base/last_notice.h"
#include "core/base/loop.h"
#include "core/base/result.h"
#include "core/cgroup/usage.h"
#include "core/process/fence.h"
#include "core/spawn/process.h"
#include "core/spawn/spawn.h"

namespace regroup {

/// Our end of the guardian, a process that outlives us if we're killed, and then kills whatever is
/// left of the groups that it was told of. See native/guardian.
///
/// Invariant: what it's told arrives in order, and nothing of it is lost: what the socket doesn't
/// take waits here until it does. Owner: Supervisor. Thread: supervisor.
class Guardian final : private Loop::Watcher {
 public:
  /// Starts it. @param program its executable's path. @param fence when it ends workers although
  /// we live; null: never
  static Result<std::unique_ptr<Guardian>> start(Spawner& spawner, Loop& loop,
                                                 const std::string& program,
                                                 const Fence* fence = nullptr);
  /// Says goodbye, and waits for its end, but not for long.
  ~Guardian();
  Guardian(const Guardian&) = delete;
  Guardian& operator=(const Guardian&) = delete;

  /// Before the group's first worker, so that no moment is unguarded.
  void begin(uint64_t group, const std::string& cookie);
  /// Before the folder is made: it's killed through it, and removes it.
  void addCgroup(uint64_t group, const std::string& path);
  /// Before it happens, of ours of version 2: it gives `controllers` to those below, and all that's
  /// in ours may move to `leaf`.
  void willMove(Controllers controllers, const std::string& home, const std::string& leaf);
  void watch(uint64_t group, std::span<const pid_t> leaders);
  /// All workers of the group have started, in its cgroups, so that whatever they start is there,
  /// too.
  void isHeld(uint64_t group);
  /// Before workers are reaped: from then on their numbers may be strangers'.
  void letGo(uint64_t group);
  /// The number of one worker isn't ours any more: somebody else took its status.
  void letGo(uint64_t group, pid_t leader);
  /// Nothing is left of it.
  void end(uint64_t group);
  /// Whoever is left of it has so much time to end by itself, should we be gone before.
  void linger(uint64_t group, std::chrono::milliseconds time);
  /// What a server is told when it has killed all, and is certain that nobody is left. In place of
  /// the one before.
  void setLastNotice(const LastNotice& notice);
  /// Lets it see to what's left, as if we were killed, instead of a goodbye.
  void outlive();

  /// Runs `then` once all that was told so far has gone to it: at once, as a rule.
  void whenTold(std::function<void()> then);

  /// Whether it can still be told, and takes what it's told.
  bool alive() const;
  pid_t pid() const { return process_.pid; }

 private:
  Guardian(Process process, Fd socket, Loop& loop)
      : process_(std::move(process)), socket_(std::move(socket)), loop_(loop) {}
  void tell(const std::string& lines);
  void tell(char what, uint64_t group, const std::string& rest = {});
  bool flush();
  void onReady(uint32_t events) override;
  void stopWaiting();
  bool takesTheRest();

  Process process_;
  Fd socket_;
  Loop& loop_;
  std::string untold_;
  std::optional<TimePoint> behindSince_;  // while there's anything untold
  std::vector<std::function<void()>> waiting_;
};

}  // namespace regroup
