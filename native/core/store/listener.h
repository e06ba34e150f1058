#pragma once

#include "core/base/fd.h"
#include "core/base/loop.h"
#include "core/base/result.h"

namespace regroup::store {

class Engine;
struct Served;

/// A listening socket: takes connections in or, out of descriptors, refuses them.
///
/// Owner: Served. Thread: store.
class Listener final : public Loop::Watcher {
 public:
  Listener(Engine& engine, Served& served, Fd fd);
  ~Listener() override;

  Result<void> watch();
  void onReady(uint32_t events) override;
  /// Closes whoever has connected and wasn't accepted.
  void purge();

 private:
  bool refuse(int error);
  void restoreSpare();
  void rest();
  void inherit(const Fd& fd);

  enum class Inherits { Unknown, Yes, No };
  Engine& engine_;
  Served& served_;
  const Fd fd_;
  Inherits inherits_ = Inherits::Unknown;
  Loop::TimerId pause_ = 0;
};

}  // namespace regroup::store
