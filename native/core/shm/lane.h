#pragma once

#include <sys/types.h>

#include <optional>
#include <string_view>

#include "core/base/fd.h"
#include "core/base/mapping.h"
#include "core/base/result.h"
#include "core/shm/lane_layout.h"

namespace regroup::shm {

/// The server's side of a lane.
///
/// Invariant: how far both rings were read and written is kept here; of what the client says only
/// its own counts are used, and checked. A client that scribbles on its lane gets an error, or
/// garbage of its own making.
/// Owner: the client's connection. Thread: store; slot() is for any.
class ServerLane {
 public:
  /// Fails with the kernel's word.
  static Result<ServerLane> create();
  ServerLane(ServerLane&&) noexcept = default;
  ServerLane& operator=(ServerLane&&) = delete;

  /// Tells the client, should it still be there, that the server is done with it.
  void close();

  /// For the client. Gone after forgetFd().
  const Fd& fd() const { return fd_; }
  void forgetFd() { fd_.reset(); }

  /// As recv(): EAGAIN if there's nothing, EPROTO if the client's count can't be.
  ssize_t read(char* to, size_t bytes);
  /// As send().
  ssize_t write(std::string_view bytes);
  /// Whether there's something to read. If not, the client will ring.
  bool hasInput();
  /// Whether there's room for replies. If not, the client will ring.
  bool hasRoom();
  /// The client is gone: what it has written by now is all. Whoever still maps the lane, such as a
  /// child that it forked, can't go on with it.
  void noteGone() { last_ = lane_->requestHead.load(std::memory_order_acquire); }
  /// Wakes the client if something is new to it. `unserved`: read, but not applied yet.
  void tell(size_t unserved);

  const Slot& slot() const { return lane_->slot; }

 private:
  ServerLane(Mapping memory, Fd fd);
  std::byte* requests() const { return memory_.data() + kRequestOffset; }
  std::byte* replies() const { return memory_.data() + kReplyOffset; }

  Mapping memory_;
  Lane* lane_;
  Fd fd_;
  uint32_t requestHead() const {
    return last_ ? *last_ : lane_->requestHead.load(std::memory_order_acquire);
  }

  std::optional<uint32_t> last_;
  uint32_t requestTail_ = 0;
  uint32_t replyHead_ = 0;
  uint32_t applied_ = 0;
  uint32_t event_ = 0;
  bool news_ = false;
};

}  // namespace regroup::shm
