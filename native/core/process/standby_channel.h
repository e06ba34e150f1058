#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/base/fd.h"
#include "core/base/loop.h"
#include "core/base/result.h"

namespace regroup {

/// The end of a socket to a standby, a worker that waits for the round that it'll be in. Messages
/// go both ways, each behind its length of four bytes, little-endian; what they say is between the
/// standby and who sends them.
///
/// Owner: the worker. Thread: supervisor.
class StandbyChannel final : private Loop::Watcher {
 public:
  /// Protects us from a standby that would take all memory.
  static constexpr size_t kMaxMessageBytes = 16 * 1024 * 1024;

  /// Told of each message, without its length; of nothing, once: the standby has closed its end,
  /// or what came is no message. It may destroy the channel.
  using OnMessage = std::function<void(std::optional<std::string>)>;

  struct Made {
    std::unique_ptr<StandbyChannel> ours;
    Fd its;
  };
  static Result<Made> make(Loop& loop, OnMessage onMessage);
  ~StandbyChannel();
  StandbyChannel(const StandbyChannel&) = delete;
  StandbyChannel& operator=(const StandbyChannel&) = delete;

  /// `fds` ride on the first byte. What the socket doesn't take waits here, but for that byte:
  /// EAGAIN says that the standby doesn't read.
  Result<void> send(std::string_view bytes, std::span<const int> fds = {});
  /// Hands out what has come and is unread: for whoever hears of something later than that first.
  /// It may be destroyed by this, as by whoever is told.
  void drain();

 private:
  StandbyChannel(Fd socket, Loop& loop, OnMessage onMessage)
      : socket_(std::move(socket)), loop_(loop), onMessage_(std::move(onMessage)) {}
  Result<size_t> write(std::string_view bytes, std::span<const int> fds);
  void onReady(uint32_t events) override;
  Result<void> flush();
  bool receive();
  void handOut();

  Fd socket_;
  Loop& loop_;
  const OnMessage onMessage_;
  std::string unsent_;
  std::string received_;  // less than a message
  bool isOver_ = false;
  /// Gone with us: whoever is told may destroy us.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// The value of a message's first field, which is its type: `<length>type<length><value>`. Empty:
/// there's none.
std::string_view typeOfMessage(std::string_view message);

}  // namespace regroup
