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
  /// Closes whoever has connected and wasn't accepted.
  void purge();

 protected:
  virtual void take(Fd fd, const SocketAddress& address) = 0;

  Engine& engine() { return engine_; }
  Served& served() { return served_; }

 private:
  bool refuse(int error);
  void restoreSpare();
  void rest();

  Engine& engine_;
  Served& served_;
  const Fd fd_;
  Loop::TimerId pause_ = 0;
};

class TcpListener final : public Listener {
 public:
  using Listener::Listener;

 private:
  void take(Fd fd, const SocketAddress& address) override;
  void inherit(const Fd& fd);

  enum class Inherits { Unknown, Yes, No };
  Inherits inherits_ = Inherits::Unknown;
};

}  // namespace regroup::store
