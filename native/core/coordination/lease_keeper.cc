#include "core/coordination/lease_keeper.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <random>
#include <utility>

#include "core/base/siphash.h"
#include "core/base/syscall.h"
#include "core/store/address.h"

namespace regroup::coordination {

using std::chrono::milliseconds;

namespace {

void setOption(const Fd& socket, int option, int value) {
  // A kernel that lacks one does without.
  (void)::setsockopt(socket.get(), IPPROTO_TCP, option, &value, sizeof value);
}

}  // namespace

/// What the keeper's thread shares with those who call.
struct LeaseKeeper::Shared {
  Shared(Options given, store::SocketAddress to, Fd wakeup)
      : options(std::move(given)),
        address(to),
        woken(std::move(wakeup)),
        lastBeat(monotonicNow().time_since_epoch().count()),
        step(options.lease, monotonicNow()),
        random(HashKey::random().low) {}

  void run();
  void obey(LeaseStep::Next next);
  void connect();
  void send();
  void receive();
  void broke() {
    socket.reset();
    step.onBroken(rightNow());
  }
  /// The attempt to connect has failed, or not.
  void attempted(int error);
  static Moment rightNow() { return {monotonicNow(), BootClock::now()}; }
  void tellFence();
  void await(std::optional<TimePoint> until);

  const Options options;
  const store::SocketAddress address;
  const Fd woken;  // eventfd
  std::atomic<int64_t> lastBeat;
  std::atomic<bool> isClosing{false};
  std::atomic<bool> saysGoodbye{false};

  // Thread: the keeper's.
  LeaseStep step;
  NonceSource nonces;
  std::minstd_rand random;
  Fd socket;
  bool isConnecting = false;
  BootTime connectingSince;
  std::string unsent;
  std::optional<BootTime> told;  // of the fence
};

void LeaseKeeper::Shared::run() {
  while (!isClosing) {
    const Moment now = rightNow();
    step.beat(TimePoint(std::chrono::nanoseconds(lastBeat.load())));
    const double chance = std::uniform_real_distribution<>()(random);
    const LeaseStep::Next next = step.next(now, chance);
    tellFence();
    if (next.order == LeaseStep::Order::Wait)
      await(next.until);
    else
      obey(next);
  }
  if (!saysGoodbye || !socket || isConnecting || !unsent.empty()) return;
  std::string goodbye;
  Frame(goodbye, Type::Goodbye, 0);
  // What the socket doesn't take now is left away: nobody waits for it.
  (void)!::send(socket.get(), goodbye.data(), goodbye.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void LeaseKeeper::Shared::obey(LeaseStep::Next next) {
  switch (next.order) {
    case LeaseStep::Order::Wait:
      break;
    case LeaseStep::Order::Connect:
      connect();
      break;
    case LeaseStep::Order::Send:
      unsent += step.takeOutput();
      send();
      break;
    case LeaseStep::Order::Drop:
      socket.reset();
      break;
    case LeaseStep::Order::Lost:
      socket.reset();
      options.onEvent(Event::Lost);
      break;
    case LeaseStep::Order::Moved:
      socket.reset();
      options.onEvent(Event::Moved);
      break;
    case LeaseStep::Order::Gone:
      options.onEvent(Event::Gone);
      break;
    case LeaseStep::Order::Stalled:
      options.onEvent(Event::Stalled);
      break;
  }
}

void LeaseKeeper::Shared::connect() {
  unsent.clear();
  socket =
      Fd(::socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  if (!socket) return broke();
  setOption(socket, TCP_NODELAY, 1);
  setOption(socket, TCP_USER_TIMEOUT, static_cast<int>(options.lease.ttl.count()));
  connectingSince = BootClock::now();
  const int error = ::connect(socket.get(), &address.any, address.size()) < 0 ? errno : 0;
  isConnecting = error == EINPROGRESS || error == EINTR;
  if (!isConnecting) attempted(error);
}

void LeaseKeeper::Shared::attempted(int error) {
  if (error == 0) return step.onConnected(monotonicNow(), nonces.next());
  if (error != ECONNREFUSED) return broke();
  socket.reset();
  step.onRefused(rightNow(), connectingSince);
}

void LeaseKeeper::Shared::send() {
  while (!unsent.empty()) {
    const ssize_t sent =
        ::send(socket.get(), unsent.data(), unsent.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return;
    if (sent < 0) return broke();
    unsent.erase(0, static_cast<size_t>(sent));
  }
}

void LeaseKeeper::Shared::receive() {
  char bytes[4096];
  const ssize_t size = ::recv(socket.get(), bytes, sizeof bytes, MSG_DONTWAIT);
  if (size < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (size <= 0) return broke();
  (void)step.onInput({bytes, static_cast<size_t>(size)}, rightNow());
}

void LeaseKeeper::Shared::tellFence() {
  const auto fence = step.fence();
  if (!fence || fence == told) return;
  told = fence;
  options.onFence(*fence);
}

/// Until something comes, or `until`.
void LeaseKeeper::Shared::await(std::optional<TimePoint> until) {
  int timeoutMs = -1;
  if (until) {
    const auto left = std::chrono::ceil<milliseconds>(*until - monotonicNow()).count();
    timeoutMs = static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
  }
  const bool wantsRoom = isConnecting || !unsent.empty();
  pollfd polls[] = {
      {woken.get(), POLLIN, 0},
      {socket ? socket.get() : -1, static_cast<short>(wantsRoom ? POLLIN | POLLOUT : POLLIN), 0}};
  if (::poll(polls, 2, timeoutMs) <= 0) return;
  if (polls[0].revents != 0) drainEvent(woken);
  if (polls[1].revents == 0) return;
  if (std::exchange(isConnecting, false)) {
    int error = 0;
    socklen_t size = sizeof error;
    (void)::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    return attempted(error);
  }
  if ((polls[1].revents & POLLOUT) != 0) send();
  if (socket && (polls[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) receive();
}

Result<std::unique_ptr<LeaseKeeper>> LeaseKeeper::start(Options options) {
  auto address = store::parseHost(options.host);
  if (!address) return address.error();
  address->setPort(options.port);
  options.lease.server = store::PeerName(*address).text();
  auto woken = makeEventFd();
  if (!woken) return woken.error();
  auto shared = std::make_shared<Shared>(std::move(options), *address, *std::move(woken));
  auto thread = Thread::start([shared] {
    (void)::prctl(PR_SET_NAME, "regroup-lease");
    shared->run();
    shared->socket.reset();
  });
  if (!thread) return thread.error();
  return std::unique_ptr<LeaseKeeper>(new LeaseKeeper(std::move(shared), *std::move(thread)));
}

LeaseKeeper::LeaseKeeper(std::shared_ptr<Shared> shared, Thread thread)
    : shared_(std::move(shared)), thread_(std::move(thread)) {}

LeaseKeeper::~LeaseKeeper() {
  close(Farewell::None);
}

LastNotice LeaseKeeper::lastNotice() const {
  const store::SocketAddress& address = shared_->address;
  return {std::string(reinterpret_cast<const char*>(&address), address.size()),
          revocation(shared_->options.lease.lease, shared_->options.lease.token)};
}

void LeaseKeeper::beat() {
  shared_->lastBeat = monotonicNow().time_since_epoch().count();
}

void LeaseKeeper::close(Farewell farewell) {
  if (!thread_.joinable()) return;
  shared_->saysGoodbye = farewell == Farewell::Goodbye;
  shared_->isClosing = true;
  signalEvent(shared_->woken);
  thread_.join();
}

}  // namespace regroup::coordination
