#include "core/base/loop.h"

#include <errno.h>
#include <time.h>

#include <algorithm>

#include "core/base/syscall.h"

namespace regroup {

namespace {

/// Events per epoll_wait: enough that a storm of exits costs few calls.
constexpr int kBatchEvents = 256;
/// Events follow each other closely if the next ones came within so many times `linger_`: what's
/// longer is hardly ever caught by looking again, and would only cost the time.
constexpr int kClose = 4;

}  // namespace

TimePoint monotonicNow() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return TimePoint(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

Result<std::unique_ptr<Loop>> Loop::create(Clock clock) {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Error{"epoll_create1", errno};
  auto wakeup = makeEventFd();
  if (!wakeup) return wakeup.error();
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;  // the wake-up itself
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wakeup->get(), &event) < 0)
    return Error{"epoll_ctl", errno};
  return std::unique_ptr<Loop>(new Loop(clock, std::move(epoll), *std::move(wakeup)));
}

Loop::Loop(Clock clock, Fd epoll, Fd wakeup)
    : clock_(clock), epoll_(std::move(epoll)), wakeup_(std::move(wakeup)) {}

Loop::~Loop() = default;

Result<void> Loop::add(int fd, uint32_t events, Watcher* watcher) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = watcher;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0) return Error{"epoll_ctl", errno};
  return {};
}

Result<void> Loop::modify(int fd, uint32_t events, Watcher* watcher) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = watcher;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) < 0) return Error{"epoll_ctl", errno};
  return {};
}

void Loop::remove(int fd, Watcher* watcher) {
  // Fails only for a descriptor that was never added; then there's nothing to undo.
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  for (int i = 0; i < batchSize_; i++) {
    if (batch_[i].data.ptr == watcher) batch_[i].events = 0;
  }
}

void Loop::post(std::function<void()> task) {
  {
    std::lock_guard lock(tasksMutex_);
    if (stopping_) return;
    tasks_.push_back(std::move(task));
  }
  signalEvent(wakeup_);
}

void Loop::stop() {
  {
    std::lock_guard lock(tasksMutex_);
    if (stopping_) return;
    stopping_ = true;
    tasks_.push_back([this] { stopped_ = true; });
  }
  signalEvent(wakeup_);
}

Loop::TimerId Loop::setTimer(TimePoint due, std::function<void()> task) {
  const TimerId id = nextTimer_++;
  timers_.emplace(std::pair(due, id), std::move(task));
  timerDue_.emplace(id, due);
  return id;
}

void Loop::cancelTimer(TimerId id) {
  const auto due = timerDue_.find(id);
  if (due == timerDue_.end()) return;
  timers_.erase({due->second, id});
  timerDue_.erase(due);
}

int Loop::timeoutMs() const {
  if (timers_.empty()) return -1;
  const auto left = timers_.begin()->first.first - clock_();
  if (left <= left.zero()) return 0;
  // Rounded up: a timer that wakes early would only spin until it's due.
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::min<int64_t>(ms, 60'000));
}

void Loop::runTasks() {
  drainEvent(wakeup_);
  std::vector<std::function<void()>> tasks;
  {
    std::lock_guard lock(tasksMutex_);
    tasks.swap(tasks_);
  }
  for (auto& task : tasks) task();
}

void Loop::runTimers() {
  // Only those due by now: a task that sets a timer for now can't keep us here.
  const TimePoint now = clock_();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    auto node = timers_.extract(timers_.begin());
    timerDue_.erase(node.key().second);
    node.mapped()();
  }
}

int Loop::wait(epoll_event* events) {
  if (linger_ <= linger_.zero())
    return ::epoll_wait(epoll_.get(), events, kBatchEvents, timeoutMs());

  const TimePoint from = clock_();
  TimePoint until = from + linger_;
  if (!timers_.empty()) until = std::min(until, timers_.begin()->first.first);
  int n = 0;
  while (close_ && n == 0 && clock_() < until)
    n = ::epoll_wait(epoll_.get(), events, kBatchEvents, 0);
  if (n == 0) n = ::epoll_wait(epoll_.get(), events, kBatchEvents, timeoutMs());
  close_ = n > 0 && clock_() - from < kClose * linger_;
  return n;
}

void Loop::run() {
  epoll_event events[kBatchEvents];
  while (!stopped_) {
    const int n = wait(events);
    batch_ = events;
    batchSize_ = std::max(n, 0);  // EINTR: nothing ready; a debugger or a stray signal
    bool woken = false;
    for (int i = 0; i < batchSize_; i++) {
      if (events[i].data.ptr == nullptr) {
        woken = true;
      } else if (events[i].events != 0) {
        static_cast<Watcher*>(events[i].data.ptr)->onReady(events[i].events);
      }
    }
    batchSize_ = 0;
    if (woken) runTasks();
    runTimers();
  }
}

}  // namespace regroup
