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

  /// Gives the client its lane and the table's segment. False: it's gone.
  bool greet(const Fd& segment);
  void onReady(uint32_t events) override;

 private:
  ssize_t read(char* to, size_t bytes) override;
  ssize_t write(std::span<const iovec> parts) override;
  bool unheard() override { return lane_->hasInput() || gone_; }
  bool hasRoomUnheard() override { return lane_->hasRoom() || gone_; }
  /// The bell is all there is to listen to.
  bool want(uint32_t) override { return true; }
  void tell() override { lane_->tell(unserved()); }
  void tellRetired() override { lane_->close(); }
  std::string name() const override;

  const std::shared_ptr<shm::ServerLane> lane_;  // the table's board has it, too
  const pid_t pid_;    // as the kernel told when it connected; it may be somebody else's by now
  bool gone_ = false;  // what it left in the lane is still served
};

}  // namespace regroup::store
