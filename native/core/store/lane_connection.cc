#include "core/store/lane_connection.h"

#include <errno.h>
#include <sys/socket.h>

#include <algorithm>

#include "core/store/engine.h"

namespace regroup::store {

LaneConnection::LaneConnection(Engine& engine, Served& served, Fd bell, shm::ServerLane lane,
                               pid_t pid)
    : Connection(engine, served, std::move(bell)), lane_(std::move(lane)), pid_(pid) {
  served.lanes.insert(this);
}

LaneConnection::~LaneConnection() {
  served().lanes.erase(this);
  // How far a worker got is asked for when it's gone.
  uint64_t& highest = served().totals.highestStep;
  highest = std::max(highest, lane_.slot().step.load(std::memory_order_relaxed));
}

void LaneConnection::onReady(uint32_t) {
  char rings[256];
  // Descriptors that come along are closed by the kernel, since this isn't recvmsg.
  const ssize_t rung = ::recv(fd().get(), rings, sizeof rings, 0);
  if (rung == 0 || (rung < 0 && errno != EAGAIN && errno != EINTR)) {
    gone_ = true;
    lane_.noteGone();
    engine().loop().remove(fd().get(), this);
  }
  // Requests, or room for replies, or both: the bell has one sound.
  Connection::onReady(EPOLLIN | EPOLLOUT);
}

ssize_t LaneConnection::read(char* to, size_t bytes) {
  const ssize_t size = lane_.read(to, bytes);
  if (size >= 0) return size;
  if (errno == EPROTO) {
    (void)fault("its count of requests can't be");
    errno = EPROTO;  // the log may have changed it
  } else if (gone_) {
    errno = ECONNRESET;
  }
  return -1;
}

ssize_t LaneConnection::write(std::string_view bytes) {
  // Nobody reads it, but requests that it left are still to be served.
  if (gone_) return static_cast<ssize_t>(bytes.size());
  const ssize_t size = lane_.write(bytes);
  if (size < 0 && errno == EPROTO) {
    (void)fault("its count of replies can't be");
    errno = EPROTO;  // the log may have changed it
  }
  return size;
}

std::string LaneConnection::name() const {
  return "process " + std::to_string(pid_) + " at shared memory";
}

}  // namespace regroup::store
