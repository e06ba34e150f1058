#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/boot_time.h"
#include "core/base/loop.h"
#include "core/coordination/frames.h"

namespace regroup::coordination {

/// Both clocks at a moment. The fence is by the machine's, which goes on while that sleeps; pauses
/// are by the other one.
struct Moment {
  TimePoint at;
  BootTime boot;
};

/// What keeping a lease takes, decided without a socket, a thread or a clock.
///
/// Thread: its owner's.
class LeaseStep {
 public:
  using milliseconds = std::chrono::milliseconds;

  struct Options {
    LeaseId lease = 0;
    milliseconds ttl{};
    milliseconds margin{};  // the fence passes so long before the lease can end
    milliseconds stall{};   // without a beat for so long, nothing is renewed any more
  };

  enum class Order : uint8_t {
    Wait,
    Connect,
    Send,  // what `takeOutput` gives
    Drop,  // the connection: it's of no use, and was reported as broken by this
    Lost,  // told once: the lease is, and the connection of no use
    /// Told once. The connection stays: its end would have the server end the lease before its
    /// time, and so before the fence.
    Stalled,
  };
  struct Next {
    Order order;
    /// For Wait: look again then. Nothing: when something happens.
    std::optional<TimePoint> until = {};
  };

  LeaseStep(const Options& options, TimePoint now);

  void beat(TimePoint now) { lastBeat_ = std::max(lastBeat_, now); }
  /// To be asked until it says Wait.
  ///
  /// @param chance from 0 to 1: those who have lost a server don't come back all at once
  Next next(const Moment& now, double chance);
  void onConnected(TimePoint now);
  /// Or it couldn't be had. The server ends the lease soon where it has seen that, too: the fence
  /// moves back.
  void onBroken(const Moment& now);
  /// Where the fence is; nothing: no renewal was confirmed yet.
  std::optional<BootTime> fence() const { return fence_; }
  /// @returns where the fence is from now on, if a renewal was confirmed
  std::optional<BootTime> onInput(std::string_view bytes, TimePoint now);
  std::string takeOutput() { return std::exchange(output_, {}); }

 private:
  enum class Link : uint8_t { None, Connecting, Greeting, Ready };

  std::optional<BootTime> onAnswer(const Answer& answer, TimePoint now);
  milliseconds interval() const;

  const Options options_;
  TimePoint lastBeat_;
  bool isStalled_ = false;
  bool isLost_ = false;
  bool isOver_ = false;  // one of both, and told
  Link link_ = Link::None;
  bool isUseless_ = false;  // the link, and it's to be dropped
  std::optional<TimePoint> due_;  // to connect, to have connected, to renew, or to have an answer
  size_t attempt_ = 0;
  uint32_t nextId_ = 1;
  std::optional<BootTime> sentAt_;  // the renewal that has no answer yet
  std::optional<BootTime> fence_;
  std::string input_;
  std::string output_;
};

}  // namespace regroup::coordination
