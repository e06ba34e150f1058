#include "core/process/supervisor.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

#include <algorithm>

#include "core/process/orphans.h"
#include "core/process/supervisor_impl.h"

namespace regroup {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds kCloseWait = 5s;
/// From a stop that can't wait, and that a start keeps from being heard, to giving up.
constexpr milliseconds kHurriedWait = 3s;
/// For a start that's under way when all are to be killed.
constexpr milliseconds kStartWait = 500ms;
/// For the thread's last things, when no group is left: the guardian's goodbye, cgroups.
constexpr milliseconds kEndWait = 5s;
/// For what groups have left and no guardian sees to.
constexpr milliseconds kRemainsWait = 1s;
/// A guest that the guardian doesn't know is better than a host that waits for us.
constexpr milliseconds kGuestWait = 1s;

}  // namespace

Supervisor::Impl::Impl(Options options, const Features& features, std::shared_ptr<Loop> loop,
                       Spawner spawner)
    : options_(std::move(options)),
      features_(features),
      loop_(std::move(loop)),
      spawner_(std::move(spawner)),
      starts_(spawner_, [this](const StartWatch::Hanging& hanging) { onStartHangs(hanging); }),
      search_(loop_, features),
      fence_(Fence::create()),
      remains_(*loop_, features, [this] { return guardian_.get(); }) {
  const auto& [early, exitGuard] = options_.preloads;
  std::vector<std::string> libraries;
  for (const std::string& library : {early, exitGuard}) {
    if (!library.empty()) libraries.push_back(library);
  }
  if (!libraries.empty()) preloadCheck_.emplace(std::move(libraries));
}

Supervisor::Impl::~Impl() {
  for (auto& [id, group] : groups_) {
    for (auto& worker : group->workers) leaveWaiter(*worker);
  }
  for (auto& worker : abandoned_) leaveWaiter(*worker);
}

Result<void> Supervisor::Impl::startThread(const std::shared_ptr<Impl>& impl) {
  auto ended = makeEventFd();
  if (!ended) return ended.error();
  impl->ended_ = *std::move(ended);
  auto thread = Thread::start([impl] {
    (void)::prctl(PR_SET_NAME, "regroup-watch");
    impl->loop_->run();
    impl->tearDown();
    signalEvent(impl->ended_);
  });
  if (!thread) return thread.error();
  impl->thread_ = *std::move(thread);
  return {};
}

void Supervisor::Impl::watchFence() {
  fenceWatcher_.owner = this;
  if (!fence_) return;
  // Its edge: it's readable for as long as it has passed.
  auto watched = loop_->add((*fence_)->timer().get(), EPOLLIN | EPOLLET, &fenceWatcher_);
  if (!watched) fence_ = watched.error();
}

milliseconds Supervisor::Impl::owes() {
  const TimePoint now = loop_->now();
  const TimePoint askedAt = askedAt_.load();
  if (askedAt != TimePoint{}) return std::chrono::duration_cast<milliseconds>(now - askedAt);
  askedAt_ = now;
  post([](Impl& self) { self.askedAt_ = TimePoint{}; });
  return 0ms;
}

/// The loop has ended.
void Supervisor::Impl::tearDown() {
  // What the pump posts now comes to a loop that has ended.
  std::vector<StreamId> left;
  for (const auto& [id, owner] : streams_) left.push_back(id);
  if (!left.empty()) pump_->finish(std::move(left), 0ms, nullptr);
  pump_.reset();
  helpers_.reset();
  if (!guardian_) {
    // Those whose end the loop didn't wait for; they have been killed.
    for (const auto& [id, group] : groups_) leaveRemains(*group);
  }
  remains_.removeWithin(guardian_ ? 0ms : kRemainsWait);
  // It sees to them, and to groups that we couldn't wait for.
  if (guardian_ && (!remains_.isEmpty() || !groups_.empty())) guardian_->outlive();
  guardian_.reset();
  if (inHome_) home_.leave();
}

void Supervisor::Impl::stopThread() {
  loop_->stop();
  // One that hangs in a start had its time before.
  if (waitReadable(ended_, starts_.isPending() ? 0ms : kEndWait)) return thread_.join();
  const std::lock_guard lock(listenerMutex_);
  hasListener_ = false;
  thread_.leave();
}

void Supervisor::Impl::killAll(milliseconds atMost, std::shared_ptr<Fd> done) {
  idle_.push_back(std::move(done));
  std::vector<GroupId> ids;
  for (const auto& [id, group] : groups_) ids.push_back(id);
  for (const GroupId id : ids) stop(id, {SIGKILL, Target::Group, 0ms, atMost});
  if (groups_.empty()) tellIdle();
}

/// On the thread that spawns, so that a child is known before it can be a zombie.
void Supervisor::Impl::reapOrphans() {
  if (guests_.deferOrphans()) return;
  std::vector<pid_t> ours;
  for (const auto& [id, group] : groups_) {
    for (const auto& worker : group->workers) ours.push_back(worker->process.pid);
  }
  for (const auto& worker : abandoned_) ours.push_back(worker->process.pid);
  for (const auto& each : unreaped_) {
    for (const Process& process : each.processes) ours.push_back(process.pid);
  }
  if (guardian_) ours.push_back(guardian_->pid());
  (void)regroup::reapOrphans(ours);  // how many there were is nobody's concern
}

void Supervisor::Impl::beginGuest(std::string cookie, const Fd& done) {
  const Guests::Guest& guest = guests_.begin(std::move(cookie));
  // Where there's none, the first group tells it.
  if (!options_.guardian.empty() && !unguardable_ && needGuardian(nullptr))
    guardian_->begin(guest.id, guest.cookie);
  signalEvent(done);
}

void Supervisor::Impl::endGuest(const std::string& cookie) {
  const auto id = guests_.end(cookie);
  if (!id) return;
  if (guardian_) guardian_->end(*id);
  if (guests_.takeDeferred()) reapOrphans();
}

void Supervisor::Impl::setLastNotice(const LastNotice& notice) {
  lastNotice_ = notice;
  // Else it's told as soon as there's one.
  if (guardian_) guardian_->setLastNotice(notice);
}

/// Thread: the watch's.
void Supervisor::Impl::onStartHangs(const StartWatch::Hanging& hanging) {
  const auto& [place, child] = hanging;
  StartHangs hangs{place.index, StartStep::Resolve, place.what, 0};
  if (child) {
    hangs.step = child->step;
    hangs.pid = child->pid;
    if (child->step == StartStep::Cwd) hangs.detail = place.cwd;
  }
  emit(place.group, monotonicNow(), std::move(hangs));
}

void Supervisor::Impl::tellIdle() {
  for (auto& done : std::exchange(idle_, {})) signalEvent(*done);
}

void Supervisor::Impl::onTrouble(OutputTrouble trouble) {
  const auto found = streams_.find(trouble.stream);
  if (found == streams_.end()) return;
  const auto [group, index] = found->second;
  emit(group, loop_->now(),
       OutputFailed{index, std::move(trouble.path), trouble.error, trouble.droppedLines});
}

Result<std::unique_ptr<Supervisor>> Supervisor::start(Options options) {
  const Features features = probeFeatures(options.disable);
  auto spawner = Spawner::create(features);
  if (!spawner) return spawner.error();
  auto loop = Loop::create();
  if (!loop) return loop.error();
  auto impl = std::make_shared<Impl>(std::move(options), features,
                                     std::shared_ptr<Loop>(*std::move(loop)), *std::move(spawner));
  impl->watchFence();
  auto started = Impl::startThread(impl);
  if (!started) return started.error();
  return std::unique_ptr<Supervisor>(new Supervisor(std::move(impl)));
}

Supervisor::Supervisor(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Supervisor::~Supervisor() {
  close();
}

void Supervisor::startGroup(GroupPlan plan) {
  if (!impl_) return;
  // Shared only because std::function must be copyable.
  auto shared = std::make_shared<GroupPlan>(std::move(plan));
  impl_->starts().expect();
  impl_->post([shared](Impl& self) { self.start(std::move(*shared)); });
}

void Supervisor::takeOver(GroupPlan plan, std::vector<std::string> orders,
                          std::optional<milliseconds> answerWait) {
  if (!impl_) return;
  using Both = std::pair<GroupPlan, std::vector<std::string>>;
  auto shared = std::make_shared<Both>(std::move(plan), std::move(orders));
  impl_->starts().expect();
  impl_->post([shared, answerWait](Impl& self) {
    self.takeOver(std::move(shared->first), std::move(shared->second), answerWait);
  });
}

void Supervisor::stopGroup(GroupId group, StopRequest request) {
  if (!impl_) return;
  const bool isHurried = request.grace <= 0ms;
  impl_->starts().onStop(isHurried ? kHurriedWait : request.grace + request.killWait);
  impl_->post([=](Impl& self) {
    self.starts().onHeard();
    self.stop(group, request);
  });
}

void Supervisor::signalGroup(GroupId group, int signal, Target target) {
  if (impl_) impl_->post([=](Impl& self) { self.signal(group, signal, target); });
}

void Supervisor::signalLeader(GroupId group, size_t index, int signal) {
  if (impl_) impl_->post([=](Impl& self) { self.signalLeader(group, index, signal); });
}

void Supervisor::reapOrphans() {
  if (impl_) impl_->post([](Impl& self) { self.reapOrphans(); });
}

void Supervisor::beginGuest(std::string cookie) {
  if (!impl_) return;
  auto done = makeEventFd();
  if (!done) return;  // out of descriptors: then there will be no child either
  auto shared = std::make_shared<Fd>(*std::move(done));
  impl_->post(
      [cookie = std::move(cookie), shared](Impl& self) { self.beginGuest(cookie, *shared); });
  (void)waitReadable(*shared, kGuestWait);
}

void Supervisor::endGuest(std::string cookie) {
  if (impl_) impl_->post([cookie = std::move(cookie)](Impl& self) { self.endGuest(cookie); });
}

milliseconds Supervisor::owes() {
  return impl_ ? impl_->owes() : 0ms;
}

Result<std::shared_ptr<Fence>> Supervisor::fence() const {
  if (!impl_) return Error{"timerfd_create", EBADF};
  return impl_->fence();
}

void Supervisor::setLastNotice(LastNotice notice) {
  if (impl_) impl_->post([notice = std::move(notice)](Impl& self) { self.setLastNotice(notice); });
}

void Supervisor::killAll(milliseconds atMost) {
  if (!impl_) return;
  auto done = makeEventFd();
  if (!done) return;  // out of descriptors: the kill below would go unheard; close() still kills
  auto shared = std::make_shared<Fd>(*std::move(done));
  impl_->post([=](Impl& self) { self.killAll(atMost, shared); });
  if (impl_->starts().isGivenUp() || waitReadable(*shared, std::min(atMost, kStartWait))) return;
  impl_->starts().hurry();
  (void)waitReadable(*shared, atMost - kStartWait);
}

void Supervisor::close() {
  if (!impl_) return;
  killAll(kCloseWait);
  impl_->stopThread();
  impl_.reset();
}

}  // namespace regroup
