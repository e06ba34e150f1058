#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/base/features.h"
#include "core/base/loop.h"
#include "core/cgroup/cgroup.h"
#include "core/process/stray_search.h"
#include "core/process/tidy.h"

namespace regroup {

/// Ends what a group's workers have left behind: sees who's there, leaves each a moment to end by
/// itself, and signals those who don't. tidy.h decides when.
///
/// Owner: a worker group. Thread: supervisor.
class StraySweep {
 public:
  using milliseconds = std::chrono::milliseconds;

  /// Of the group, which outlives the sweep.
  struct Subject {
    std::string cookie;
    const Cgroup* cgroup = nullptr;    // null: there's none
    bool isHeld = false;               // by it: nobody is elsewhere
    std::vector<std::string> folders;  // of all of the group's cgroups, that one among them
    std::string
        refuge;  // a cgroup for whoever is left alone, where those above the folders take nobody
    TimePoint since;  // the first worker's start
    TidyUp tidyUp;
  };

  enum class How : uint8_t {
    Tidy,   // another round waits, or the end
    Clean,  // all workers have ended well
    Wait,   // they've had their signal with their workers
    Kill,
  };

  StraySweep(Loop& loop, StraySearch& search, const Features& features, Subject subject)
      : loop_(loop), search_(search), features_(features), subject_(std::move(subject)) {}
  ~StraySweep();
  StraySweep(const StraySweep&) = delete;
  StraySweep& operator=(const StraySweep&) = delete;

  /// While workers are being stopped: ends the loaders of those who have ended. They hold copies of
  /// its connections, whose end its peers may be waiting for.
  void endLoaders(const std::vector<pid_t>& workers, pid_t ended);

  /// @param workers whose pids are held
  /// @param killAt for How::Wait
  /// @param killWait from SIGKILL to giving up
  /// @param done called once, at once or later: nobody is left but those whom `remains` gives
  void begin(How how, std::vector<pid_t> workers, TimePoint killAt, milliseconds killWait,
             std::function<void()> done);
  /// Not later than then; nothing is ever prolonged.
  void killBy(TimePoint killAt, milliseconds killWait);

  /// Those who got a signal, loaders excepted that ended by SIGTERM.
  const std::vector<NamedProcess>& signalled() const { return signalled_; }
  /// Those who were left alone.
  const std::vector<NamedProcess>& left() const { return left_; }
  /// In the end: who lingers, and who is stuck in the kernel.
  bool hasRemains() const { return !known_.empty(); }
  std::vector<Stray> takeRemains();
  bool isLingering(const Stray& stray) const;

 private:
  struct Known final : Loop::Watcher {
    StraySweep* sweep = nullptr;
    Stray stray;
    tidy::Left left;
    uint64_t switches = 0;             // as they were then
    std::optional<TimePoint> lastRun;  // when it was seen to have run; before the first look: none
    bool isWatched = false;
    bool isTold = false;
    void onReady(uint32_t) override { sweep->onGone(stray.pid); }
  };

  Wanted wanted() const;
  void look();
  void onFound(std::vector<Stray> found);
  void add(Stray stray);
  void drop(pid_t pid);
  void onGone(pid_t pid);
  void markOrphans(TimePoint now);
  void act();
  bool isBusy(Known& known, TimePoint now);
  void signal(Known& known, tidy::Order order);
  void postponeKill(TimePoint now);
  TimePoint giveUpAt() const { return plan_.killAllAt() + killWait_; }
  void killAll();
  void killBlindly();
  bool leaveAlone(const Stray& stray);
  bool isAnybodyWaitedFor() const;
  void setTimer(TimePoint due, void (StraySweep::*then)());
  void finish();

  Loop& loop_;
  StraySearch& search_;
  const Features features_;
  const Subject subject_;
  std::vector<pid_t> workers_;
  tidy::Plan plan_;
  TimePoint latestKillAt_;   // for how long one that tidies up may postpone it
  milliseconds killWait_{};  // from then to giving up
  std::function<void()> done_;
  std::map<pid_t, std::unique_ptr<Known>> known_;
  std::set<pid_t> leftAlone_;
  std::set<pid_t> ended_;  // workers whose loaders are to end
  std::vector<NamedProcess> signalled_;
  std::vector<NamedProcess> left_;
  bool isLooking_ = false;
  bool looksAgain_ = false;
  bool endsLoaders_ = false;  // a look for them is under way
  std::optional<Loop::TimerId> timer_;
  /// Gone with us: a search may come back later.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace regroup
