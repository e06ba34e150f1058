#pragma once

#include "core/shm/lane.h"
#include "core/store/connection.h"

namespace regroup::store {

/// A client over shared memory. Its bytes go through a lane; its Unix socket is the bell that it
/// rings, and tells when it's gone.
///
/// Owner: Served. Thread: store.
class LaneConnection final : public Connection {
 public:
  LaneConnection(Engine& engine, Served& served, Fd bell, shm::ServerLane lane, pid_t pid);
  ~LaneConnection() override;

  void onReady(uint32_t events) override;

  pid_t pid() const { return pid_; }
  const shm::Slot& slot() const { return lane_.slot(); }

 private:
  ssize_t read(char* to, size_t bytes) override;
  ssize_t write(std::string_view bytes) override;
  bool unheard() override { return lane_.hasInput() || gone_; }
  /// The bell is all there is to listen to.
  bool want(uint32_t) override { return true; }
  void tell() override { lane_.tell(unserved()); }
  std::string name() const override;

  shm::ServerLane lane_;
  const pid_t pid_;    // as the kernel told when it connected; it may be somebody else's by now
  bool gone_ = false;  // what it left in the lane is still served
};

}  // namespace regroup::store
