#pragma once

#include <sys/uio.h>

#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/bytes.h"
#include "core/base/fd.h"
#include "core/base/loop.h"
#include "core/base/result.h"
#include "core/store/address.h"
#include "core/store/session.h"

namespace regroup::store {

class Engine;
struct Served;

/// A client, and what's held for it; how its bytes come and go is up to those derived from it.
///
/// Owner: Served. Thread: store.
class Connection : public Loop::Watcher, public Peer {
 public:
  Connection(Engine& engine, Served& served, Fd fd);
  ~Connection() override;

  Result<void> watch();
  /// May drop, and so destroy, this connection.
  void onReady(uint32_t events) override;
  /// A turn of its own: goes on with requests that an earlier turn left. May drop this connection,
  /// too.
  void onTurn();
  /// Its table is being dropped, and so is it, at the next occasion.
  void retire();
  /// Lets go of all that it holds, and ends it soon.
  void giveUp(const std::string& why);

  void send(std::string_view bytes) override;
  void close() override;

  Served& served() { return *served_; }
  /// As long as it has no session.
  void serveAt(Served& served) { served_ = &served; }

  // The engine's bookkeeping.
  size_t place = 0;                                        // in Served::connections
  uint32_t loan = 0;                                       // see Served::loans; 0: none
  std::optional<std::list<Connection*>::iterator> turn;    // in line for one, while it is
  std::optional<std::list<Connection*>::iterator> holder;  // among those that hold something

 protected:
  // As recv() and send() do at a non-blocking socket.
  virtual ssize_t read(char* to, size_t bytes) = 0;
  virtual ssize_t write(std::span<const iovec> parts) = 0;
  /// Something can be read that no event will tell of.
  virtual bool unheard() { return false; }
  /// The same of room for replies.
  virtual bool hasRoomUnheard() { return false; }
  /// Asks for these events, from now on. False: the kernel refused.
  virtual bool want(uint32_t events) = 0;
  /// The turn is over: what was written is the peer's to read.
  virtual void tell() {}
  /// Lets the peer know at once, where that's cheap.
  virtual void tellRetired() {}
  /// For the log.
  virtual std::string name() const = 0;
  /// Logs why the peer is dropped. Always false.
  bool fault(const std::string& what);

  Engine& engine() { return engine_; }
  const Fd& fd() const { return fd_; }
  size_t unserved() const { return unserved_.size(); }

 private:
  /// A turn at once, when bytes have come, or one of its own.
  enum class Turn { AtOnce, Own };

  // False: drop.
  bool receive(Turn turn);
  bool serveHeld(Turn turn);
  bool serve(std::string_view input, Turn turn, size_t& consumed);
  bool choose(std::string_view input);
  bool chooseBorrower();
  bool write(Reply& reply);
  bool flush();
  bool lost();
  bool update();

  Session::Turn limitsOf(Turn turn) const;
  bool paused() const;
  void keepUnread(Reply reply);
  void armStallTimer();
  void armQuietTimer(std::chrono::milliseconds quiet);
  void armChoiceTimer(std::chrono::milliseconds patience);

  Engine& engine_;
  Served* served_;
  const Fd fd_;
  std::unique_ptr<Session> session_;  // once the first bytes have told which
  Bytes unserved_;                    // an unfinished request, or requests of the next turn
  Reply unread_;                      // replies that the kernel hasn't taken
  size_t counted_ = 0;                // our part of Engine::Shared::held
  TimePoint lastRead_{};
  Loop::TimerId stallTimer_ = 0;
  Loop::TimerId quietTimer_ = 0;
  Loop::TimerId choiceTimer_ = 0;  // until there's a session, where that mustn't take long
  uint32_t events_;
  bool more_ = false;     // `unserved_` may begin with a whole request
  bool busy_ = false;     // for more than one turn of its own
  bool eof_ = false;      // the peer sends no more, but has yet to read
  bool lost_ = false;     // the peer is gone, and what it has asked for is being finished
  bool retired_ = false;  // neither served nor sent to any more
};

/// An accepted TCP socket.
class TcpConnection final : public Connection {
 public:
  TcpConnection(Engine& engine, Served& served, Fd fd, const PeerName& name)
      : Connection(engine, served, std::move(fd)), name_(name) {}

 private:
  ssize_t read(char* to, size_t bytes) override;
  ssize_t write(std::span<const iovec> parts) override;
  bool want(uint32_t events) override;
  std::string name() const override { return name_.text(); }
  std::string ownAddress() const override;

  const PeerName name_;
};

}  // namespace regroup::store
