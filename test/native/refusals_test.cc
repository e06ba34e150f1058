#include "core/store/refusals.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "core/store/proc_sockets.h"
#include "test/native/tap.h"

using namespace regroup;
using namespace regroup::store;

namespace {

constexpr std::chrono::seconds kLong{30};

TimePoint at(int ms) {
  return TimePoint(std::chrono::milliseconds(1'000'000 + ms));
}

/// A message as Linux 6.1 sends it, with a tcp_info of so many bytes.
std::string message(uint16_t port, uint64_t acked, uint32_t segmentsIn,
                    size_t infoBytes = sizeof(tcp_info)) {
  nlmsghdr header{};
  inet_diag_msg gone{};
  gone.idiag_family = AF_INET;
  gone.idiag_state = 7;
  gone.id.idiag_dport = htons(port);
  gone.id.idiag_dst[0] = htonl(INADDR_LOOPBACK);
  tcp_info info{};
  info.tcpi_bytes_acked = acked;
  info.tcpi_segs_in = segmentsIn;
  info.tcpi_segs_out = 1;
  const nlattr attribute{static_cast<uint16_t>(NLA_HDRLEN + infoBytes), INET_DIAG_INFO};
  header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  header.nlmsg_len =
      static_cast<uint32_t>(NLMSG_HDRLEN + sizeof gone + NLA_HDRLEN + NLA_ALIGN(infoBytes));
  std::string bytes(reinterpret_cast<char*>(&header), sizeof header);
  bytes.append(reinterpret_cast<char*>(&gone), sizeof gone);
  bytes.append(reinterpret_cast<const char*>(&attribute), sizeof attribute);
  bytes.append(reinterpret_cast<char*>(&info), infoBytes);
  bytes.resize(header.nlmsg_len);
  return bytes;
}

/// Where nobody else is refused: whoever is at the same time may be taken for the one who tries.
/// Without the privilege it's where we are.
void enterNetworkOfOwn() {
  if (::unshare(CLONE_NEWNET) < 0) return;
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq loopback{};
  ::strcpy(loopback.ifr_name, "lo");
  loopback.ifr_flags = IFF_UP;
  CHECK(::ioctl(socket.get(), SIOCSIFFLAGS, &loopback) == 0);
}

/// A port of loopback that nobody listens at, since it's bound by `holder` and no more.
uint16_t closedPort(Fd& holder) {
  holder.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ::bind(holder.get(), reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(holder.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

/// Tries as PyTorch does: without blocking, a new socket before the old one is closed, and a pause
/// with the refused one still open.
[[noreturn]] void tryForever(uint16_t port) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  int before = -1;
  for (;;) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (before >= 0) ::close(before);
    before = fd;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    (void)::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
    pollfd ready{fd, POLLOUT, 0};
    ::poll(&ready, 1, -1);
    ::poll(nullptr, 0, 400);
  }
}

}  // namespace

TEST("F-F15 a message of a refused socket is told from one of a socket that was connected") {
  const auto refused = parseGoneSocket(message(29777, 0, 1));
  REQUIRE(refused);
  CHECK(refused->wasRefused);
  CHECK_EQ(PeerName(refused->peer).text(), "127.0.0.1:29777");

  CHECK(!parseGoneSocket(message(29777, 2, 3))->wasRefused);  // it has connected
  CHECK(!parseGoneSocket(message(29777, 0, 3))->wasRefused);  // it was accepted
  CHECK(!parseGoneSocket(message(29777, 0, 1, 100))->wasRefused);
  CHECK(!parseGoneSocket(message(0, 0, 1)));  // it has listened
}

TEST("a message that's cut or nonsense is no socket") {
  const std::string whole = message(29777, 0, 1);
  for (size_t size = 0; size < whole.size(); size++)
    CHECK(!parseGoneSocket(std::string_view(whole).substr(0, size)));
  std::string odd = whole;
  odd[NLMSG_HDRLEN + sizeof(inet_diag_msg)] = 0;  // an attribute without a length
  CHECK(!parseGoneSocket(odd)->wasRefused);
}

TEST("F-F15 an address is suspected once it has refused for a while, and looked at now and then") {
  RefusalTally tally;
  CHECK(!tally.note("here", at(0)));
  CHECK(!tally.note("here", at(500)));
  CHECK(!tally.note("there", at(600)));
  CHECK(tally.note("here", at(1600)));
  CHECK(!tally.note("here", at(1700)));
  CHECK(tally.note("here", at(2000)));
  tally.settle("here");
  CHECK(!tally.note("here", at(9000)));
  CHECK(tally.note("there", at(9000)));
}

TEST("an address that nobody of ours tries isn't looked at for ever") {
  RefusalTally tally;
  (void)tally.note("here", at(0));
  int looks = 0;
  for (int i = 1; i < 1000; i++) looks += tally.note("here", at(i * 1000));
  CHECK_EQ(looks, 20);
}

TEST("who has a new unconnected socket tries again; who keeps one doesn't") {
  const Unconnected before{{1, {10}}, {2, {20}}, {4, {}}};
  const Unconnected now{{1, {11}}, {2, {20}}, {3, {30}}, {4, {40}}};
  CHECK(whoTriesAgain(before, now) == std::vector<pid_t>{1});
}

TEST(
    "F-F15 a process whose child keeps connecting where nobody listens is found, with the "
    "address") {
  enterNetworkOfOwn();
  auto created = Loop::create();
  REQUIRE(created);
  Loop& loop = **created;
  Fd holder;
  const uint16_t port = closedPort(holder);
  // The worker itself does nothing; a child of its own tries.
  const pid_t worker = ::fork();
  if (worker == 0) {
    if (::fork() == 0) tryForever(port);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) ::pause();
  }
  const pid_t other = ::fork();
  if (other == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) ::pause();
  }
  pid_t found = 0;
  std::string where;
  auto watch =
      RefusalWatch::create(loop, {other, worker}, [&](pid_t pid, const std::string& address) {
        found = pid;
        where = address;
        loop.stop();
      });
  if (!watch) {
    tap::skip(std::string("no messages of sockets here: ") + watch.error().op);
  } else {
    (void)loop.setTimer(loop.now() + kLong, [&] { loop.stop(); });
    loop.run();
    CHECK_EQ(found, worker);
    CHECK_EQ(where, "127.0.0.1:" + std::to_string(port));
  }
  for (const pid_t pid : {worker, other}) {
    ::kill(pid, SIGKILL);
    (void)::waitpid(pid, nullptr, 0);
  }
}

TEST("a watch may be ended at any moment") {
  auto created = Loop::create();
  REQUIRE(created);
  Loop& loop = **created;
  for (int i = 0; i < 20; i++) {
    auto watch = RefusalWatch::create(loop, {::getpid()}, [](pid_t, const std::string&) {});
    if (!watch) return tap::skip("no messages of sockets here");
    watch->reset();
  }
  loop.stop();
  loop.run();
}

TEST("who listens at a port is found, by name") {
  Fd listener;
  const uint16_t port = closedPort(listener);
  CHECK(!findPortHolder(port, kLong));
  ::listen(listener.get(), 1);

  const auto holder = findPortHolder(port, kLong);

  REQUIRE(holder);
  CHECK_EQ(holder->pid, ::getpid());
  CHECK_EQ(holder->command, "refusals_test");
}

TAP_MAIN
