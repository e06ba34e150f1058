#include "core/store/lane_listener.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>

#include "core/base/syscall.h"
#include "core/shm/lane_layout.h"
#include "core/store/engine.h"
#include "core/store/lane_connection.h"

namespace regroup::store {

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

void LaneListener::take(Fd fd, const SocketAddress&, bool) {
  const auto refuse = [&](const std::string& why) {
    served().board->refused += 1;
    engine().log("no shared memory for " + why);
  };
  auto peer = peerOf(fd.get());
  if (!peer) return;
  const std::string who = "process " + std::to_string(peer->pid);
  // In another pid namespace it has no number here, but its user has.
  if (peer->uid != ::geteuid()) return refuse(who + ": its user is " + std::to_string(peer->uid));
  if (served().board->lanes() >= engine().options().sharedMemory.lanes)
    return refuse(who + ": all lanes are taken: " + std::to_string(served().board->lanes()));

  const auto cannot = [&](const Error& error) {
    refuse(who + ": " + error.op + ", errno " + std::to_string(error.code));
  };
  auto mirror = engine().mirrorOf(served());
  if (!mirror) return cannot(mirror.error());
  auto lane = shm::ServerLane::create();
  if (!lane) return cannot(lane.error());
  // Whoever has it can be seen: by the time that the client knows of its lane, so does the board.
  auto connection = std::make_unique<LaneConnection>(engine(), served(), std::move(fd),
                                                     *std::move(lane), peer->pid);
  if (connection->greet((*mirror)->writer().segment().fd()))
    engine().admit(served(), std::move(connection));
}

}  // namespace regroup::store
