#include <sys/socket.h>

#include "core/base/syscall.h"
#include "core/shm/lane.h"
#include "core/store/lane_listener.h"
#include "test/native/lane_harness.h"
#include "test/native/tap.h"

using namespace lane_harness;

namespace {

/// Gives one client a lane, as the server does.
shm::ServerLane give(const Fd& listener, const shm::Writer& writer) {
  // It never blocks, and the client may not have come yet.
  (void)waitReadable(listener, std::chrono::milliseconds(kLongMs));
  const Fd bell(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  auto lane = shm::ServerLane::create();
  shm::Hello hello{shm::kHelloMagic, shm::kLaneVersion, 0};
  iovec part{&hello, sizeof hello};
  const int fds[] = {writer.segment().fd().get(), lane->fd().get()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {};
  msghdr message{
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  *CMSG_FIRSTHDR(&message) = {CMSG_LEN(sizeof fds), SOL_SOCKET, SCM_RIGHTS};
  ::memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), fds, sizeof fds);
  (void)::sendmsg(bell.get(), &message, MSG_NOSIGNAL);
  // The bell stays open as long as this process, which serves no other.
  (void)::dup(bell.get());
  return *std::move(lane);
}

/// A server in a process of its own, for one client, that does with its lane as the test says.
struct Played {
  explicit Played(const std::function<int(shm::ServerLane&)>& play) {
    auto local = listenLocally();
    name = local->name;
    process = std::make_unique<Child>([&] {
      const auto writer = shm_harness::makeWriter();
      shm::ServerLane lane = give(local->fd, *writer);
      return play(lane);
    });
  }

  std::string name;
  std::unique_ptr<Child> process;
};

constexpr int kPieces = 20'000;
/// A piece is neither a multiple nor a part of what the server takes or gives at once.
constexpr size_t kPiece = 96;
constexpr size_t kStep = 64;

}  // namespace

TEST("a client that writes while the server takes writes no more than it was given") {
  Played server([](shm::ServerLane& lane) {
    char step[kStep];
    uint64_t taken = 0;
    while (taken < 5 + kPieces * kPiece) {
      const ssize_t size = lane.read(step, sizeof step);
      if (size < 0 && errno != EAGAIN) return 1;
      if (size < 0) continue;
      lane.tell(0);
      taken += static_cast<uint64_t>(size);
    }
    return taken == 5 + kPieces * kPiece ? 0 : 2;
  });
  LaneClient client(server.name);
  REQUIRE_EQ(client.answer, REGROUP_SHM_OK);
  const std::string piece(kPiece, 'x');
  for (int i = 0; i < kPieces; i++) {
    size_t done = 0;
    REQUIRE_EQ(client.write(piece, &done), REGROUP_SHM_OK);
    REQUIRE_EQ(done, kPiece);
  }
  CHECK_EQ(server.process->wait(), 0);
}

TEST("a client that reads while the server writes gets no more than it asked for") {
  Played server([](shm::ServerLane& lane) {
    const std::string step(kStep, 'x');
    for (;;) {
      if (lane.write(step) > 0) lane.tell(0);
    }
    return 0;
  });
  LaneClient client(server.name);
  REQUIRE_EQ(client.answer, REGROUP_SHM_OK);
  std::vector<char> bytes(2 * shm::kRingBytes);
  for (int i = 0; i < kPieces; i++) {
    size_t done = 0;
    REQUIRE_EQ(::regroup_shm_read(client.client, bytes.data(), kPiece, &done, kLongMs),
               REGROUP_SHM_OK);
    REQUIRE_EQ(done, kPiece);
  }
}

TAP_MAIN
