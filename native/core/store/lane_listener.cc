#include "core/store/lane_listener.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>

#include "core/shm/lane_layout.h"
#include "core/store/engine.h"
#include "core/store/lane_connection.h"

namespace regroup::store {

namespace {

/// False: the client can't have left yet unread bytes, so it's gone.
bool sendHello(const Fd& socket, int segment, int lane) {
  shm::Hello hello{shm::kHelloMagic, shm::kLaneVersion, 0};
  iovec part{&hello, sizeof hello};
  const int fds[] = {segment, lane};
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
  return ::sendmsg(socket.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof hello);
}

}  // namespace

Result<LocalSocket> listenLocally() {
  unsigned char secret[16];
  if (::getrandom(secret, sizeof secret, 0) != static_cast<ssize_t>(sizeof secret))
    return Error{"getrandom", errno};
  LocalSocket local{Fd(), "@regroup-store-"};
  for (const unsigned char byte : secret) {
    char digits[3];
    ::snprintf(digits, sizeof digits, "%02x", byte);
    local.name += digits;
  }

  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(local.name.begin() + 1, local.name.end(), address.sun_path + 1);
  const socklen_t size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + local.name.size());
  local.fd.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!local.fd) return Error{"socket", errno};
  if (::bind(local.fd.get(), reinterpret_cast<sockaddr*>(&address), size) < 0)
    return Error{"bind", errno};
  if (::listen(local.fd.get(), INT_MAX) < 0) return Error{"listen", errno};
  return local;
}

void LaneListener::take(Fd fd, const SocketAddress&) {
  const auto refuse = [&](const std::string& why) {
    served().totals.refused++;
    engine().log("no shared memory for " + why);
  };
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return;
  const std::string who = "process " + std::to_string(peer.pid);
  // In another pid namespace it has no number here, but its user has.
  if (peer.uid != ::geteuid()) return refuse(who + ": its user is " + std::to_string(peer.uid));
  if (served().lanes.size() >= engine().options().sharedMemory.lanes)
    return refuse(who + ": all lanes are taken: " + std::to_string(served().lanes.size()));

  const auto cannot = [&](const Error& error) {
    refuse(who + ": " + error.op + ", errno " + std::to_string(error.code));
  };
  auto mirror = engine().mirrorOf(served());
  if (!mirror) return cannot(mirror.error());
  auto lane = shm::ServerLane::create();
  if (!lane) return cannot(lane.error());
  if (!sendHello(fd, (*mirror)->writer().segment().fd().get(), lane->fd().get())) return;
  lane->forgetFd();
  engine().admit(served(), std::make_unique<LaneConnection>(engine(), served(), std::move(fd),
                                                            std::move(*lane), peer.pid));
}

}  // namespace regroup::store
