#pragma once

#include "core/base/fd.h"
#include "core/base/loop.h"
#include "core/base/result.h"

namespace regroup::store {

class Engine;
struct Served;
union SocketAddress;

/// A listening socket: takes connections in or, out of descriptors, refuses them.
///
/// Owner: Served. Thread: store.
class Listener : public Loop::Watcher {
 public:
  Listener(Engine& engine, Served& served, Fd fd);
  ~Listener() override;

  Result<void> watch();
  void onReady(uint32_t events) override;
  /// Connections that come from now on are for this table. Those that wait to be accepted are
  /// closed when it's their turn.
  void serveInstead(Served& served);
  /// The table's port is another one's from now on. Those that wait to be accepted came before.
  virtual void noteLoan() {}

 protected:
  /// `isEarly`: it has come before the port was lent last.
  virtual void take(Fd fd, const SocketAddress& address, bool isEarly) = 0;
  /// Drops those that wait to be accepted. @returns how many are still to be, when it's their turn
  virtual size_t dropBacklog();

  Engine& engine() { return engine_; }
  Served& served() { return *served_; }
  const Fd& fd() const { return fd_; }
  void setEarly(size_t early) { early_ = early; }

 private:
  bool accept();
  bool onError(int error);
  bool refuse(int error);
  void restoreSpare();
  void rest();
  void giveUp(int error);

  Engine& engine_;
  Served* served_;
  const Fd fd_;
  size_t stale_ = 0;  // of those that wait: they're for an earlier table
  size_t early_ = 0;  // likewise: they're for none that has borrowed the port, or an earlier one
  Loop::TimerId pause_ = 0;
};

class TcpListener final : public Listener {
 public:
  using Listener::Listener;
  void noteLoan() override;

 private:
  void take(Fd fd, const SocketAddress& address, bool isEarly) override;
  size_t dropBacklog() override;
  void inherit(const Fd& fd);

  enum class Inherits { Unknown, Yes, No };
  Inherits inherits_ = Inherits::Unknown;
};

}  // namespace regroup::store
