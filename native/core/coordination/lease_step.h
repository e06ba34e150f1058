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
#include "core/coordination/proof.h"

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
    /// The server's address, as `PeerName` has it. If it's the one that the server tells as its
    /// own, nobody else's refusals can be taken for its end.
    std::string server = {};
    /// Refusals move the fence on for so long; 0: no further than renewals have. They say that no
    /// server is there, and so only where no other one may have taken its place elsewhere.
    milliseconds refusals{};
    /// The job's, which both sides prove to have; empty: neither does.
    std::string token = {};
  };

  enum class Order : uint8_t {
    Wait,
    Connect,
    Send,  // what `takeOutput` gives
    Drop,  // the connection: it's of no use, and was reported as broken by this
    Lost,  // told once: the lease is, and the connection of no use
    /// Told once: another server has taken the place of the one that has granted the lease, which
    /// had lived until then. The fence stays where it is.
    Moved,
    Gone,  // told once: there has been no server for as long as refusals count
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
  /// @param nonce for this connection; without a token nobody needs one
  void onConnected(TimePoint now, std::string nonce = {});
  /// Or it couldn't be had. The server ends the lease soon where it has seen that, too: the fence
  /// moves back.
  void onBroken(const Moment& now);
  /// Nobody listens there. If the server isn't another machine's, it's gone, and so whoever takes
  /// its place has begun later than that, knows of no lease, and waits for those that may come: the
  /// fence moves on. @param since when the attempt began
  void onRefused(const Moment& now, BootTime since);
  /// Where the fence is; nothing: no renewal was confirmed yet.
  std::optional<BootTime> fence() const { return fence_; }
  /// @returns where the fence is from now on, if a renewal was confirmed
  std::optional<BootTime> onInput(std::string_view bytes, const Moment& now);
  std::string takeOutput() { return std::exchange(output_, {}); }

 private:
  enum class Link : uint8_t { None, Connecting, Greeting, Proving, Ready };

  std::optional<BootTime> onAnswer(const Answer& answer, const Moment& now);
  void prove(std::string_view nonce);
  void onWelcome(const Moment& now);
  milliseconds interval() const;

  const Options options_;
  TimePoint lastBeat_;
  bool isStalled_ = false;
  bool isLost_ = false;
  bool isMoved_ = false;
  bool isGone_ = false;
  bool isOver_ = false;  // one of these, and told
  Link link_ = Link::None;
  bool isUseless_ = false;        // the link, and it's to be dropped
  std::optional<TimePoint> due_;  // to connect, to have connected, to renew, or to have an answer
  size_t attempt_ = 0;
  uint32_t nextId_ = 1;
  std::optional<BootTime> sentAt_;  // the renewal that has no answer yet
  std::optional<BootTime> fence_;
  std::optional<BootTime> confirmed_;    // the fence, as if no connection had ever broken
  milliseconds granted_{};               // the lease's time
  std::optional<uint64_t> incarnation_;  // of the server that has confirmed it
  bool isOwn_ = false;                   // the server's address
  std::optional<BootTime> refusedSince_;
  Nonces nonces_;
  // Of the last welcome; of use once the server has proved what it has to.
  uint64_t welcomed_ = 0;  // the server's incarnation
  bool isOwnWelcome_ = false;
  std::string input_;
  std::string output_;
};

}  // namespace regroup::coordination
