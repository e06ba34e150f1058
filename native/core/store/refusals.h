#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
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
  bool wasRefused;  // it has sent a SYN, and nothing was ever acknowledged
};
/// One message of sock_diag(7)'s group of destroyed sockets; nothing where it isn't one.
std::optional<GoneSocket> parseGoneSocket(std::string_view message);

/// What a look at some processes has found: TCP sockets that are neither connected nor listen, by
/// inode.
using Unconnected = std::map<pid_t, std::set<uint64_t>>;

/// Those whose unconnected socket isn't the one of the look before: they have tried anew meanwhile.
std::vector<pid_t> whoTriesAgain(const Unconnected& before, const Unconnected& now);

/// Addresses at which connections are refused again and again. Pure.
class RefusalTally {
 public:
  /// Notes one. True: it's worth a look who tries, for the first time or again.
  bool note(const std::string& address, TimePoint at);
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
/// each new try. It doesn't tell whose it was. That's found in /proc, by a thread of its own: the
/// files there may wait for their owner. A thread that does is left behind.
///
/// Owner: Engine. Thread: store.
class RefusalWatch final : public Loop::Watcher {
 public:
  /// `pid`: that of `pids` which tries, itself or by one that it has started.
  using OnFound = std::function<void(pid_t pid, const std::string& address)>;

  /// Fails where the kernel or a filter has no such messages.
  static Result<std::unique_ptr<RefusalWatch>> create(Loop& loop, std::vector<pid_t> pids,
                                                      OnFound onFound);
  ~RefusalWatch() override;

  void onReady(uint32_t events) override;

 private:
  struct Mailbox;

  RefusalWatch(Loop& loop, Fd socket, std::vector<pid_t> pids, OnFound onFound);
  void onRefused(const SocketAddress& peer);
  void look(const std::string& address);
  void onLooked(const std::string& address, Unconnected now);
  void stop();

  Loop& loop_;
  Fd socket_;
  const std::vector<pid_t> pids_;
  const OnFound onFound_;
  RefusalTally tally_;
  std::map<std::string, Unconnected> looked_;  // the last look's, by address
  std::shared_ptr<Mailbox> mailbox_;           // what a look tells us through
  bool looking_ = false;
  int messages_ = 0;
  Loop::TimerId end_ = 0;
};

}  // namespace regroup::store
