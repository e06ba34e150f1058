#include "core/shm/lane.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/base/syscall.h"
#include "core/shm/futex.h"

namespace regroup::shm {

Result<ServerLane> ServerLane::create() {
  auto file = makeMemfd("regroup-lane");
  if (!file) return file.error();
  if (::ftruncate(file->get(), kLaneBytes) < 0) return Error{"ftruncate", errno};
  // Else a client could shrink it under our feet, which is a SIGBUS.
  if (auto sealed = addSeals(*file, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL); !sealed)
    return sealed.error();
  auto memory = Mapping::ofFile(*file, kLaneBytes);
  if (!memory) return memory.error();
  memory->keepFromForks();
  return ServerLane(*std::move(memory), *std::move(file));
}

ServerLane::ServerLane(Mapping memory, Fd fd)
    : memory_(std::move(memory)),
      lane_(reinterpret_cast<Lane*>(memory_.data())),
      fd_(std::move(fd)) {
  set(lane_->version, kLaneVersion);
  set(lane_->headerBytes, sizeof(Lane));
  set(lane_->laneBytes, kLaneBytes);
  set(lane_->requestOffset, kRequestOffset);
  set(lane_->replyOffset, kReplyOffset);
  set(lane_->ringBytes, kRingBytes);
  set(lane_->serverSleeps, 1);
  set(lane_->magic, kLaneMagic);
}

void ServerLane::close() {
  set(lane_->closed, 1);
  set(lane_->event, ++event_);
  futexWakeAll(lane_->event);
}

ssize_t ServerLane::read(char* to, size_t bytes) {
  lane_->serverSleeps.store(0, std::memory_order_relaxed);
  const uint32_t waiting = requestHead() - requestTail_;
  if (waiting > kRingBytes) {
    errno = EPROTO;
    return -1;
  }
  if (waiting == 0) {
    errno = EAGAIN;
    return -1;
  }
  const size_t taken = std::min<size_t>(waiting, bytes);
  copyFromRing(requests(), requestTail_, to, taken);
  requestTail_ += static_cast<uint32_t>(taken);
  set(lane_->requestTail, requestTail_);
  news_ = true;
  return static_cast<ssize_t>(taken);
}

ssize_t ServerLane::write(std::string_view bytes) {
  lane_->serverBlocked.store(0, std::memory_order_relaxed);
  uint32_t room = 0;
  for (bool asked = false;; asked = true) {
    const uint32_t used = replyHead_ - lane_->replyTail.load(std::memory_order_seq_cst);
    if (used > kRingBytes) {
      errno = EPROTO;
      return -1;
    }
    room = kRingBytes - used;
    if (room >= bytes.size() || asked) break;
    // The client rings once it has read; unless it has by now.
    lane_->serverBlocked.store(1, std::memory_order_seq_cst);
  }
  if (room == 0 && !bytes.empty()) {
    errno = EAGAIN;
    return -1;
  }
  const size_t taken = std::min<size_t>(room, bytes.size());
  copyToRing(replies(), replyHead_, bytes.data(), taken);
  replyHead_ += static_cast<uint32_t>(taken);
  set(lane_->replyHead, replyHead_);
  news_ = true;
  return static_cast<ssize_t>(taken);
}

bool ServerLane::hasInput() {
  if (requestHead() != requestTail_) return true;
  if (last_) return false;
  lane_->serverSleeps.store(1, std::memory_order_seq_cst);
  return lane_->requestHead.load(std::memory_order_seq_cst) != requestTail_;
}

bool ServerLane::hasRoom() {
  const auto used = [this] {
    return replyHead_ - lane_->replyTail.load(std::memory_order_seq_cst);
  };
  if (used() != kRingBytes) return true;
  lane_->serverBlocked.store(1, std::memory_order_seq_cst);
  return used() != kRingBytes;
}

void ServerLane::tell(size_t unserved) {
  const uint32_t applied = requestTail_ - static_cast<uint32_t>(unserved);
  if (applied != applied_) {
    applied_ = applied;
    set(lane_->applied, applied);
    news_ = true;
  }
  if (!std::exchange(news_, false)) return;
  // Before the look: a client that's about to sleep sees the word move.
  lane_->event.store(++event_, std::memory_order_seq_cst);
  if (lane_->clientSleeps.load(std::memory_order_seq_cst)) futexWakeAll(lane_->event);
}

}  // namespace regroup::shm
