#pragma once

#include <signal.h>

#include <deque>
#include <functional>
#include <mutex>
#include <optional>

#include "core/process/strays.h"
#include "core/process/supervisor.h"
#include "test/native/support.h"
#include "test/native/tap.h"

namespace support {

using namespace std::chrono_literals;

/// A supervisor whose events are awaited one by one.
class Harness {
 public:
  explicit Harness(std::vector<std::string> disable = {}, std::string guardian = {},
                   Supervisor::Options::Preloads preloads = {})
      : Harness(Supervisor::Options{.disable = std::move(disable),
                                    .guardian = std::move(guardian),
                                    .preloads = std::move(preloads)}) {}
  explicit Harness(Supervisor::Options options) : told_(*makeEventFd()) {
    options.onEvent = [this](SupervisorEvent event) {
      std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
      (void)!::write(told_.get(), "\1\0\0\0\0\0\0\0", 8);
    };
    supervisor_ = *Supervisor::start(std::move(options));
  }

  Supervisor& operator*() { return *supervisor_; }
  Supervisor* operator->() { return supervisor_.get(); }

  /// The next event, which must be a T; a check fails otherwise, and an empty one is given.
  template <typename T>
  T next(TimePoint* at = nullptr) {
    auto event = nextEvent();
    if (!event) return {};
    if (at != nullptr) *at = event->at;
    if (auto* what = std::get_if<T>(&event->what)) return std::move(*what);
    tap::fail(__FILE__, __LINE__,
              "another event came: alternative " + std::to_string(event->what.index()));
    return {};
  }

  /// The next event, whichever it is; a check fails if none comes.
  std::optional<SupervisorEvent> nextEvent() {
    while (true) {
      {
        std::lock_guard lock(mutex_);
        if (!events_.empty()) {
          SupervisorEvent event = std::move(events_.front());
          events_.pop_front();
          // Not where the tests may make cgroups.
          if (std::holds_alternative<Ungrouped>(event.what)) continue;
          return event;
        }
      }
      if (!waitReadable(told_, kLong)) {
        tap::fail(__FILE__, __LINE__, "no event came");
        return std::nullopt;
      }
      uint64_t count;
      (void)!::read(told_.get(), &count, sizeof count);
    }
  }

 private:
  Fd told_;  // eventfd
  std::mutex mutex_;
  std::deque<SupervisorEvent> events_;  // guarded by mutex_
  std::unique_ptr<Supervisor> supervisor_;
};

inline std::string makeCookie() {
  static int count = 0;
  return "test-" + std::to_string(::getpid()) + "-" + std::to_string(count++);
}

/// A group of workers whose output goes to the witness.
inline GroupPlan group(GroupId id, const Witness& witness,
                       std::vector<std::vector<std::string>> workers) {
  GroupPlan plan{id, makeCookie(), {}, 0, 100ms};
  for (auto& arguments : workers) {
    WorkerPlan worker;
    worker.command = fixture(std::move(arguments), {std::string(kCookieName) + "=" + plan.cookie});
    for (StreamPlan& stream : worker.streams) {
      stream.to = StreamPlan::To::File;
      stream.sinks.file = witness.path();
    }
    plan.workers.push_back(std::move(worker));
  }
  return plan;
}

/// Reads lines until `count` of them have begun with `word`; gives the last one's number.
inline pid_t await(Witness& witness, const std::string& word, size_t count = 1) {
  pid_t pid = 0;
  for (size_t seen = 0; seen < count;) {
    const std::string line = witness.reader().line();
    if (line.empty()) {
      tap::fail(__FILE__, __LINE__, "nobody said " + word);
      return 0;
    }
    if (!line.starts_with(word + " ")) continue;
    pid = ::atoi(line.c_str() + word.size() + 1);
    seen++;
  }
  return pid;
}

inline bool exitedWith(const Exited& exited, int code) {
  return exited.status.how == ExitStatus::How::Exited && exited.status.code == code;
}
inline bool signaledWith(const Exited& exited, int signal) {
  return exited.status.how == ExitStatus::How::Signaled && exited.status.code == signal;
}

/// Long enough that a test which relies on its end fails by its own time limit.
constexpr StopRequest gentle(int signal = SIGTERM) {
  return {signal, Target::Leader, 60'000ms, 5'000ms};
}
constexpr StopRequest kKill{SIGKILL, Target::Leader, 0ms, 5'000ms};

/// What an old kernel, or a container's filter, takes away.
inline const std::vector<std::vector<std::string>> kVariants = {
    {},
    {"clone3"},
    {"clone3", "clone-pidfd"},
    {"pidfd"},
    {"pidfd-wait"},
    {"pidfd-signal"},
    {"close_range", "clear-sighand"},
};

inline std::string nameOf(const std::vector<std::string>& variant) {
  std::string name = "without";
  for (const std::string& feature : variant) name += " " + feature;
  return variant.empty() ? "with all features" : name;
}

}  // namespace support
