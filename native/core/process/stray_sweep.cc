#include "core/process/stray_sweep.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "core/base/own_proc.h"
#include "core/base/proc.h"
#include "core/base/syscall.h"

namespace regroup {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

namespace {

/// For what a group leaves behind when it ends well: time to finish an upload, not to hang on.
constexpr milliseconds kCleanGrace = 5s;
/// So many times its grace a round waits for one that tidies up, and that the machine doesn't let
/// run.
constexpr int kMostGraces = 5;
/// Between two looks where no pidfd tells of an end.
constexpr milliseconds kNoPidfdPause = 10ms;

/// What /proc shows of one. Nothing: it's gone, or the number is somebody else's there.
std::optional<ProcessStatus> shownOf(pid_t pid) {
  return procIsOurs() ? statusOf(pid) : std::nullopt;
}

bool isRunning(const ProcessStatus& status) {
  return status.state == 'R' || status.state == 'D';
}

/// Whoever ignores SIGTERM and works on has something to finish, such as Python's resource tracker.
bool isTidying(pid_t pid) {
  const auto status = shownOf(pid);
  return status && isRunning(*status) && (status->ignored & signalBit(SIGTERM)) != 0;
}

}  // namespace

StraySweep::~StraySweep() {
  if (timer_) loop_.cancelTimer(*timer_);
  while (!known_.empty()) drop(known_.begin()->first);
}

Wanted StraySweep::wanted() const {
  Wanted wanted;
  wanted.cookie = subject_.cookie;
  wanted.leaders = workers_;
  if (subject_.isHeld) wanted.cgroup = subject_.cgroup->path();
  wanted.since = subject_.since;
  wanted.mayLeave = subject_.tidyUp.leaveDetached;
  wanted.devices = subject_.tidyUp.devices;
  return wanted;
}

void StraySweep::endLoaders(const std::vector<pid_t>& workers, pid_t ended) {
  workers_ = workers;
  ended_.insert(ended);
  if (endsLoaders_ || done_) return;
  endsLoaders_ = true;
  search_.begin(wanted(), [this, alive = std::weak_ptr(alive_)](std::vector<Stray> found) {
    if (alive.expired()) return;
    endsLoaders_ = false;
    const auto ended = std::exchange(ended_, {});
    for (const Stray& stray : found) {
      if (!stray.isFork || !ended.contains(stray.group)) continue;
      signalStray(stray, SIGTERM, features_);
      signalStray(stray, SIGCONT, features_);
    }
  });
}

void StraySweep::begin(How how, std::vector<pid_t> workers, TimePoint killAt, milliseconds killWait,
                       std::function<void()> done) {
  const TimePoint now = loop_.now();
  workers_ = std::move(workers);
  done_ = std::move(done);
  plan_.terms = how == How::Tidy || how == How::Clean;
  plan_.loadersAtOnce = how != How::Clean;
  if (how == How::Tidy) killAt = now + subject_.tidyUp.grace;
  if (how == How::Clean) killAt = now + kCleanGrace;
  if (how == How::Kill) killAt = now;
  killAt = std::max(killAt, now);
  plan_.killAt = killAt;
  plan_.busyUntil = now + (killAt - now) / 2;
  latestKillAt_ = how == How::Tidy ? now + kMostGraces * subject_.tidyUp.grace : killAt;
  killWait_ = killWait;
  if (subject_.isHeld || procIsOurs()) return look();
  setTimer(how == How::Wait ? killAt : now + tidy::kQuiet, &StraySweep::killBlindly);
}

/// Where neither a cgroup nor /proc shows who's there, the process groups of the workers are all
/// that can be reached.
void StraySweep::killBlindly() {
  for (const pid_t worker : workers_) {
    // ECHILD: somebody else has taken its status, and its number may be a stranger's.
    const auto child = waitForExit(worker, Reap::No);
    if (child || child.error().code != ECHILD) (void)killGroup(worker, SIGKILL);
  }
  finish();
}

void StraySweep::killBy(TimePoint killAt, milliseconds killWait) {
  if (!done_) return;
  plan_.killAt = std::min(plan_.killAt, killAt);
  latestKillAt_ = std::min(latestKillAt_, killAt);
  killWait_ = std::min(killWait_, killWait);
  if (!known_.empty()) act();
}

void StraySweep::look() {
  if (isLooking_) {
    looksAgain_ = true;
    return;
  }
  isLooking_ = true;
  search_.begin(wanted(), [this, alive = std::weak_ptr(alive_)](std::vector<Stray> found) {
    if (alive.expired()) return;
    isLooking_ = false;
    if (done_) onFound(std::move(found));
  });
}

/// Again and again until none is found: one may have forked while we looked.
void StraySweep::onFound(std::vector<Stray> found) {
  std::erase_if(found, [&](const Stray& stray) { return leaveAlone(stray); });
  std::vector<pid_t> gone;
  for (const auto& [pid, known] : known_) {
    const auto isIt = [pid = pid](const Stray& stray) { return stray.pid == pid; };
    if (std::none_of(found.begin(), found.end(), isIt)) gone.push_back(pid);
  }
  for (const pid_t pid : gone) drop(pid);
  for (Stray& stray : found) add(std::move(stray));
  markOrphans(loop_.now());
  if (std::exchange(looksAgain_, false)) return look();
  if (!isAnybodyWaitedFor()) return finish();
  act();
}

void StraySweep::add(Stray stray) {
  const pid_t pid = stray.pid;
  if (known_.contains(pid)) return;
  auto known = std::make_unique<Known>();
  known->sweep = this;
  known->stray = std::move(stray);
  // Not in the worker's own group: a daemon, whatever it does, is no loader.
  known->left.isLoader = known->stray.isFork && !known->stray.isDetached;
  const int pidfd = known->stray.pidfd.get();
  known->isWatched = pidfd >= 0 && loop_.add(pidfd, EPOLLIN, known.get());
  known_.emplace(pid, std::move(known));
}

void StraySweep::drop(pid_t pid) {
  const auto at = known_.find(pid);
  if (at->second->isWatched) loop_.remove(at->second->stray.pidfd.get(), at->second.get());
  known_.erase(at);
}

void StraySweep::onGone(pid_t pid) {
  drop(pid);
  if (!isAnybodyWaitedFor()) return look();
  markOrphans(loop_.now());
  act();
}

/// Whose parent is none of those that are left, was left by it just now, or before we looked.
void StraySweep::markOrphans(TimePoint now) {
  for (const auto& [pid, known] : known_) {
    if (!known->left.orphanedAt && !known_.contains(known->stray.parent))
      known->left.orphanedAt = now;
  }
}

void StraySweep::act() {
  const TimePoint now = loop_.now();
  postponeKill(now);
  if (now >= giveUpAt()) return finish();
  if (now >= plan_.killAllAt()) return killAll();
  TimePoint next = giveUpAt();
  bool isWatched = true;
  for (const auto& [pid, known] : known_) {
    isWatched = isWatched && known->isWatched;
    if (isLingering(known->stray)) continue;
    tidy::Left& left = known->left;
    // Not asked about before it matters: it's a file of /proc.
    if (left.orphanedAt && !left.wasTermed && now < plan_.busyUntil) {
      const TimePoint firstLook = *left.orphanedAt + tidy::kFirstLook;
      left.isBusy = now >= firstLook && isBusy(*known, now);
      if (now < firstLook) next = std::min(next, firstLook);
    }
    const tidy::Decision decision = tidy::decide(left, plan_, now);
    if (decision.order != tidy::Order::Nothing) signal(*known, decision.order);
    next = std::min(next, decision.again);
  }
  // Fallback: kernel < 5.3 has no pollable pidfd.
  if (!isWatched) return setTimer(std::min(next, now + kNoPidfdPause), &StraySweep::look);
  setTimer(next, &StraySweep::act);
}

/// Whether it runs, waits for the disk, or has run lately.
bool StraySweep::isBusy(Known& known, TimePoint now) {
  const auto status = shownOf(known.stray.pid);
  if (!status) return false;
  if (!known.lastRun || isRunning(*status) || known.switches != status->switches) {
    known.switches = status->switches;
    known.lastRun = now;
  }
  return now < *known.lastRun + tidy::kIdle;
}

/// On a machine that's busy enough nobody is through with anything in time.
void StraySweep::postponeKill(TimePoint now) {
  if (now < plan_.killAt || now >= latestKillAt_) return;
  const bool isAnyTidying = std::any_of(known_.begin(), known_.end(),
                                        [](const auto& each) { return isTidying(each.first); });
  if (isAnyTidying) plan_.killAt = std::min(now + tidy::kBusyPause, latestKillAt_);
}

void StraySweep::signal(Known& known, tidy::Order order) {
  // By itself, and that's about to be told.
  if (hasEnded(known.stray)) return;
  const bool isKill = order == tidy::Order::Kill;
  signalStray(known.stray, isKill ? SIGKILL : SIGTERM, features_);
  if (!isKill) signalStray(known.stray, SIGCONT, features_);
  known.left.wasTermed = true;
  // A loader that ends with its worker, by SIGTERM, is as it should be.
  const bool isNews = isKill || !known.left.isLoader || !plan_.loadersAtOnce;
  if (isNews && !std::exchange(known.isTold, true))
    signalled_.push_back({known.stray.pid, known.stray.command});
}

/// One that forks faster than we look would get away, were they killed one by one while they run.
void StraySweep::killAll() {
  const auto isSpared = [&](const auto& each) { return isLingering(each.second->stray); };
  const bool sparesNobody =
      leftAlone_.empty() && std::none_of(known_.begin(), known_.end(), isSpared);
  const bool atOnce =
      subject_.cgroup && sparesNobody && features_.cgroupKill && subject_.cgroup->canKill();
  for (const auto& [pid, known] : known_) {
    if (!isLingering(known->stray)) signal(*known, tidy::Order::Kill);
  }
  if (atOnce) {
    (void)subject_.cgroup->kill();
  } else if (subject_.cgroup && sparesNobody) {
    subject_.cgroup->freeze(true);
    Wanted inCgroup = wanted();
    inCgroup.cgroup = subject_.cgroup->path();
    for (const Stray& stray : findStraysAtOnce(inCgroup, features_))
      signalStray(stray, SIGKILL, features_);
    subject_.cgroup->freeze(false);
  }
  bool isWatched = true;
  for (const auto& [pid, known] : known_) isWatched = isWatched && known->isWatched;
  if (!isWatched)
    return setTimer(std::min(giveUpAt(), loop_.now() + kNoPidfdPause), &StraySweep::look);
  setTimer(giveUpAt(), &StraySweep::finish);
}

/// @returns whether it's none of ours any more
bool StraySweep::leaveAlone(const Stray& stray) {
  if (leftAlone_.contains(stray.pid)) return true;
  const bool mayStay = stray.asksToBeLeft || (subject_.tidyUp.leaveDetached && stray.isDetached);
  if (!mayStay || stray.holdsGpu) return false;
  // Else the cgroups would have to stay for as long as it does.
  for (const std::string& folder : subject_.folders) moveOut(stray.pid, folder, subject_.refuge);
  left_.push_back({stray.pid, stray.command});
  leftAlone_.insert(stray.pid);
  return true;
}

bool StraySweep::isLingering(const Stray& stray) const {
  const auto& names = subject_.tidyUp.lingering;
  return stray.isDetached && !stray.isFork && stray.pidfd &&
         std::find(names.begin(), names.end(), stray.command) != names.end();
}

bool StraySweep::isAnybodyWaitedFor() const {
  return std::any_of(known_.begin(), known_.end(),
                     [&](const auto& each) { return !isLingering(each.second->stray); });
}

std::vector<Stray> StraySweep::takeRemains() {
  std::vector<Stray> remains;
  while (!known_.empty()) {
    const auto& known = *known_.begin()->second;
    if (known.isWatched) loop_.remove(known.stray.pidfd.get(), known_.begin()->second.get());
    remains.push_back(std::move(known_.begin()->second->stray));
    known_.erase(known_.begin());
  }
  return remains;
}

void StraySweep::setTimer(TimePoint due, void (StraySweep::*then)()) {
  if (timer_) loop_.cancelTimer(*timer_);
  timer_ = loop_.setTimer(due, [this, then] {
    timer_.reset();
    (this->*then)();
  });
}

void StraySweep::finish() {
  if (timer_) loop_.cancelTimer(*timer_);
  timer_.reset();
  // Last: whoever is told may end us.
  std::exchange(done_, nullptr)();
}

}  // namespace regroup
