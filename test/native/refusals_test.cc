#include "core/store/refusals.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <numeric>

#include "core/base/syscall.h"
#include "core/store/proc_sockets.h"
#include "test/native/namespace.h"
#include "test/native/tap.h"

using namespace regroup;
using namespace regroup::store;
using namespace support;

namespace {

constexpr char kNeedsCookies[] =
    "needs messages of sockets and their cookies: Linux 5.6, and a filter that lets pidfd_getfd "
    "pass";

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
  gone.id.idiag_cookie[0] = 7;
  gone.id.idiag_cookie[1] = 5;
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

/// A process that ends with the test, or with us.
class Forked {
 public:
  template <typename Body>
  explicit Forked(Body body) : pid_(::fork()) {
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    body();
    ::_exit(0);
  }
  ~Forked() {
    ::kill(pid_, SIGKILL);
    (void)::waitpid(pid_, nullptr, 0);
  }
  Forked(const Forked&) = delete;
  Forked& operator=(const Forked&) = delete;
  pid_t pid() const { return pid_; }

 private:
  const pid_t pid_;
};

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
///
/// @param ready where it's told that the first try was refused
[[noreturn]] void tryForever(uint16_t port, const Fd& ready) {
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
    pollfd refused{fd, POLLOUT, 0};
    ::poll(&refused, 1, -1);
    (void)!::write(ready.get(), "r", 1);
    ::poll(nullptr, 0, 400);
  }
}

}  // namespace

TEST("F-F15 a message of a refused socket is told from one of a socket that was connected") {
  const auto refused = parseGoneSocket(message(29777, 0, 1));
  REQUIRE(refused);
  CHECK(refused->wasRefused);
  CHECK_EQ(PeerName(refused->peer).text(), "127.0.0.1:29777");
  CHECK_EQ(refused->cookie, 0x500000007u);

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
  using enum RefusalTally::Verdict;
  RefusalTally tally;
  CHECK(tally.note("here", at(0)) == Nothing);
  CHECK(tally.note("here", at(500)) == Nothing);
  CHECK(tally.note("there", at(600)) == Nothing);
  CHECK(tally.note("here", at(1600)) == Look);
  CHECK(tally.note("here", at(1700)) == Suspect);
  CHECK(tally.note("here", at(2000)) == Look);
  tally.settle("here");
  CHECK(tally.note("here", at(9000)) == Nothing);
  CHECK(tally.note("there", at(9000)) == Look);
}

TEST("an address that nobody of ours tries isn't looked at for ever") {
  RefusalTally tally;
  (void)tally.note("here", at(0));
  int looks = 0;
  for (int i = 1; i < 1000; i++)
    looks += tally.note("here", at(i * 1000)) == RefusalTally::Verdict::Look;
  CHECK_EQ(looks, 20);
}

TEST("F-F15 a worker's sockets that aren't connected are found by their cookies, and no others") {
  if (!probeCookies()) return tap::skip(kNeedsCookies);
  Fd listener;
  (void)closedPort(listener);
  ::listen(listener.get(), 1);
  const Fd idle(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  REQUIRE(::getsockopt(idle.get(), SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0);

  const Owners owners = findOwners({::getpid()});

  CHECK((owners == Owners{{cookie, ::getpid()}}));
}

TEST("a process of another network has none of our sockets") {
  if (!probeCookies()) return tap::skip(kNeedsCookies);
  auto ready = makePipe();
  REQUIRE(ready);
  const Forked elsewhere([&] {
    const bool isElsewhere = ::unshare(CLONE_NEWNET) == 0;
    const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    (void)!::write(ready->write.get(), isElsewhere ? "y" : "n", 1);
    for (;;) ::pause();
  });
  char isElsewhere = 0;
  (void)!::read(ready->read.get(), &isElsewhere, 1);
  if (isElsewhere != 'y') return tap::skip("needs a network of its own: root");

  CHECK(findOwners({elsewhere.pid()}).empty());
}

TEST("F-N12 where /proc numbers processes as somebody else does, no socket is anybody's") {
  const auto result = inPidNamespace(Proc::Parents, [] {
    const Fd idle(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    std::vector<pid_t> pids(32768);
    std::iota(pids.begin(), pids.end(), 1);
    return findOwners(pids).empty() ? 0 : 1;
  });
  if (!result) return tap::skip("needs a pid namespace of its own: root");

  CHECK_EQ(*result, 0);
}

TEST(
    "F-F15 of two addresses that refuse at once a worker's is the one that its child tries, never "
    "a stranger's") {
  auto created = Loop::create();
  REQUIRE(created);
  Loop& loop = **created;
  Fd ofStranger;
  Fd ofWorker;
  const uint16_t foreign = closedPort(ofStranger);
  const uint16_t port = closedPort(ofWorker);
  auto ready = makePipe();
  REQUIRE(ready);
  const Forked stranger([&] { tryForever(foreign, ready->write); });
  char byte;
  // So the stranger's is the one that's suspected, and looked for, first.
  REQUIRE(::read(ready->read.get(), &byte, 1) == 1);
  const Forked idle([] {
    for (;;) ::pause();
  });
  // The worker itself does nothing; a child of its own tries.
  const Forked worker([&] {
    const Forked child([&] { tryForever(port, ready->write); });
    for (;;) ::pause();
  });
  std::map<std::string, pid_t> found;

  auto watch = RefusalWatch::create(loop, {idle.pid(), worker.pid()},
                                    [&](pid_t pid, const std::string& address) {
                                      found[address] = pid;
                                      loop.stop();
                                    });
  if (!watch) return tap::skip(kNeedsCookies);
  (void)loop.setTimer(loop.now() + kLong, [&] { loop.stop(); });
  loop.run();

  const std::string own = "127.0.0.1:" + std::to_string(port);
  CHECK((found == std::map<std::string, pid_t>{{own, worker.pid()}}));
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
