#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/fd.h"
#include "core/base/loop.h"
#include "core/base/result.h"
#include "core/store/address.h"

namespace regroup::store {

/// A TCP socket that's gone, as the kernel tells of it.
struct GoneSocket {
  SocketAddress peer;
  uint64_t cookie;  // SO_COOKIE's: no other socket has, or ever had, the same
  bool wasRefused;  // it has sent a SYN, and nothing was ever acknowledged
};
/// One message of sock_diag(7)'s group of destroyed sockets; nothing where it isn't one.
std::optional<GoneSocket> parseGoneSocket(std::string_view message);

/// What a look at some processes has found: whose each TCP socket is that is neither connected nor
/// listens, by its cookie.
using Owners = std::map<uint64_t, pid_t>;

/// Addresses at which connections are refused again and again. Pure.
class RefusalTally {
 public:
  enum class Verdict : uint8_t {
    Nothing,
    Suspect,  // somebody tries again and again
    Look,     // the same, and it's time to look who, for the first time or again
  };

  /// Notes one.
  Verdict note(const std::string& address, TimePoint at);
  /// The look that `note` asked for didn't take place.
  void putOff(const std::string& address);
  /// There's no more to find out.
  void settle(const std::string& address);

 private:
  struct Address {
    TimePoint first;
    TimePoint looked{};
    int looks = 0;
    bool settled = false;
  };
  std::map<std::string, Address> addresses_;
};

/// Finds workers that keep connecting to an address of this machine where nobody listens, as
/// PyTorch does for minutes if it takes the agent for the host of a script's own store.
///
/// The kernel tells whoever asks of each TCP socket that's destroyed, and the refused one is, at
/// each new try. It doesn't tell whose it was, but its cookie. Which of our workers holds which is
/// found beforehand, by a thread of its own: what it asks may wait for the owner. A thread that
/// does is left behind. Whoever closes a refused socket at once isn't found.
///
/// Owner: Engine. Thread: store.
class RefusalWatch final : public Loop::Watcher {
 public:
  /// `pid`: that of `pids` which tries, itself or by one that it has started.
  using OnFound = std::function<void(pid_t pid, const std::string& address)>;

  /// Fails where the kernel or a filter has no such messages, or hides whose a socket is.
  static Result<std::unique_ptr<RefusalWatch>> create(Loop& loop, std::vector<pid_t> pids,
                                                      OnFound onFound);
  ~RefusalWatch() override;

  void onReady(uint32_t events) override;

 private:
  struct Mailbox;

  RefusalWatch(Loop& loop, Fd socket, std::vector<pid_t> pids, OnFound onFound);
  void onRefused(const GoneSocket& gone);
  void look();
  void stop();

  Loop& loop_;
  Fd socket_;
  const std::vector<pid_t> pids_;
  const OnFound onFound_;
  RefusalTally tally_;
  Owners owners_;                     // as the last look has found them
  std::shared_ptr<Mailbox> mailbox_;  // what a look tells us through
  bool looking_ = false;
  int messages_ = 0;
  Loop::TimerId end_ = 0;
};

}  // namespace regroup::store
