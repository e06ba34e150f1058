#include "core/store/lane_connection.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "core/store/engine.h"

namespace regroup::store {

LaneConnection::LaneConnection(Engine& engine, Served& served, Fd bell, shm::ServerLane lane,
                               pid_t pid)
    : Connection(engine, served, std::move(bell)),
      lane_(std::make_shared<shm::ServerLane>(std::move(lane))),
      pid_(pid) {
  served.board->add({pid, lane_});
}

LaneConnection::~LaneConnection() {
  lane_->close();
  served().board->remove(lane_.get());
}

bool LaneConnection::greet(const Fd& segment) {
  shm::Hello hello{shm::kHelloMagic, shm::kLaneVersion, 0};
  iovec part{&hello, sizeof hello};
  const int fds[] = {segment.get(), lane_->fd().get()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fds);
  ::memcpy(CMSG_DATA(header), fds, sizeof fds);
  const ssize_t sent = ::sendmsg(fd().get(), &message, MSG_NOSIGNAL);
  lane_->forgetFd();
  // It can't have left unread bytes yet.
  return sent == static_cast<ssize_t>(sizeof hello);
}

void LaneConnection::onReady(uint32_t) {
  char rings[256];
  // Descriptors that come along are closed by the kernel, since this isn't recvmsg.
  const ssize_t rung = ::recv(fd().get(), rings, sizeof rings, 0);
  if (rung == 0 || (rung < 0 && errno != EAGAIN && errno != EINTR)) {
    gone_ = true;
    lane_->noteGone();
    engine().loop().remove(fd().get(), this);
  }
  // Requests, or room for replies, or both: the bell has one sound.
  Connection::onReady(EPOLLIN | EPOLLOUT);
}

ssize_t LaneConnection::read(char* to, size_t bytes) {
  const ssize_t size = lane_->read(to, bytes);
  if (size >= 0) return size;
  if (errno == EPROTO) {
    (void)fault("its count of requests can't be");
    errno = EPROTO;  // the log may have changed it
  } else if (gone_) {
    errno = ECONNRESET;
  }
  return -1;
}

ssize_t LaneConnection::write(std::span<const iovec> parts) {
  ssize_t written = 0;
  for (const iovec& part : parts) {
    const std::string_view bytes(static_cast<const char*>(part.iov_base), part.iov_len);
    // Nobody reads it, but requests that it left are still to be served.
    const ssize_t size = gone_ ? static_cast<ssize_t>(bytes.size()) : lane_->write(bytes);
    if (size < 0 && errno == EPROTO) {
      (void)fault("its count of replies can't be");
      errno = EPROTO;  // the log may have changed it
    }
    if (size < 0) return written > 0 ? written : size;
    written += size;
    if (static_cast<size_t>(size) < bytes.size()) break;
  }
  return written;
}

std::string LaneConnection::name() const {
  return "process " + std::to_string(pid_) + " at shared memory";
}

}  // namespace regroup::store
