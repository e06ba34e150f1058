#include "core/process/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "core/base/syscall.h"

namespace regroup {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

namespace {

/// It ends at once when it's told to; a stopped one isn't waited for.
constexpr milliseconds kGoodbyeWait = 200ms;
/// One that has taken nothing for so long is stopped, and guards nobody.
constexpr milliseconds kMostBehind = 1s;

std::string hexOf(const std::string& bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char byte : bytes) {
    text.push_back(kDigits[static_cast<uint8_t>(byte) >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

}  // namespace

Result<std::unique_ptr<Guardian>> Guardian::start(Spawner& spawner, Loop& loop,
                                                  const std::string& program, const Fence* fence) {
  int ends[2];
  // Not a pipe: writing to one whose reader is gone would send us a signal.
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return Error{"socketpair", errno};
  Fd ours(ends[0]);
  const Fd its(ends[1]);
  auto null = openFile("/dev/null", O_RDWR);
  if (!null) return null.error();

  Command command;
  command.file = program;
  command.argv = {"regroup-guardian"};
  command.cwd = std::string(1, '/');
  command.outlivesUs = true;
  const int timer = fence == nullptr ? null->get() : fence->timer().get();
  const int fds[] = {its.get(), timer, null->get()};
  auto prepared = PreparedCommand::prepare(command, fds);
  if (!prepared) return prepared.error();
  auto spawned = spawner.spawn(*prepared);
  if (const auto* failure = std::get_if<SpawnFailure>(&spawned)) return failure->error;
  return std::unique_ptr<Guardian>(
      new Guardian(std::move(*std::get_if<Process>(&spawned)), std::move(ours), loop));
}

void Guardian::outlive() {
  // Half informed it might take a stranger for ours.
  if (!takesTheRest()) return;
  stopWaiting();
  socket_.reset();
}

Guardian::~Guardian() {
  if (!socket_) return;
  tell("Q\n");
  if (takesTheRest()) {
    (void)::shutdown(socket_.get(), SHUT_WR);
    if (process_.pidfd && waitReadable(process_.pidfd, kGoodbyeWait)) {
      (void)waitForExit(process_.pid, Reap::Yes);
      return;
    }
  }
  stopWaiting();
  // Fallback: kernel < 5.3; or it's stopped, or traced. It has nothing to guard any more.
  (void)killPid(process_.pid, SIGKILL);
  (void)waitForExit(process_.pid, Reap::Yes, true);
}

bool Guardian::alive() const {
  if (behindSince_ && loop_.now() - *behindSince_ > kMostBehind) return false;
  // Without a pidfd its socket tells.
  char byte;
  const ssize_t size = ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return size < 0 && errno == EAGAIN;
}

void Guardian::begin(uint64_t group, const std::string& cookie) {
  tell('G', group, cookie);
}

void Guardian::watch(uint64_t group, std::span<const pid_t> leaders) {
  for (const pid_t leader : leaders) tell('W', group, std::to_string(leader));
}

void Guardian::addCgroup(uint64_t group, const std::string& path) {
  tell('C', group, path);
}

void Guardian::isHeld(uint64_t group) {
  tell('I', group);
}

void Guardian::letGo(uint64_t group) {
  tell('R', group);
}

void Guardian::letGo(uint64_t group, pid_t leader) {
  tell('R', group, std::to_string(leader));
}

void Guardian::end(uint64_t group) {
  tell('E', group);
}

void Guardian::linger(uint64_t group, milliseconds time) {
  tell('T', group, std::to_string(time.count()));
}

void Guardian::setLastNotice(const LastNotice& notice) {
  tell('N', 0, hexOf(notice.address) + " " + hexOf(notice.message));
}

void Guardian::willMove(Controllers controllers, const std::string& home, const std::string& leaf) {
  tell('H', controllers, home);
  tell('L', 0, leaf);
}

void Guardian::tell(char what, uint64_t group, const std::string& rest) {
  std::string line(1, what);
  line.append(" ").append(std::to_string(group));
  if (!rest.empty()) line.append(" ").append(rest);
  tell(line.append("\n"));
}

void Guardian::tell(const std::string& lines) {
  untold_ += lines;
  if (behindSince_ || flush()) return;
  behindSince_ = loop_.now();
  // Not to be told that there's room again means to be behind for good: then it's replaced.
  (void)loop_.add(socket_.get(), EPOLLOUT, this);
}

/// @returns false: the socket takes no more for now
bool Guardian::flush() {
  while (!untold_.empty()) {
    const ssize_t sent =
        ::send(socket_.get(), untold_.data(), untold_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return false;
    // One that's gone will be replaced, and told all anew.
    untold_.erase(0, sent < 0 ? std::string::npos : static_cast<size_t>(sent));
  }
  return true;
}

void Guardian::onReady(uint32_t) {
  if (!flush()) {
    behindSince_ = loop_.now();
    return;
  }
  stopWaiting();
}

void Guardian::stopWaiting() {
  if (!behindSince_) return;
  loop_.remove(socket_.get(), this);
  behindSince_.reset();
  for (auto& then : std::exchange(waiting_, {})) then();
}

void Guardian::whenTold(std::function<void()> then) {
  if (!behindSince_) return then();
  waiting_.push_back(std::move(then));
}

/// Waits for it, but not for long.
bool Guardian::takesTheRest() {
  const TimePoint until = loop_.now() + kGoodbyeWait;
  while (!flush()) {
    if (loop_.now() >= until) return false;
    (void)waitWritable(socket_, std::chrono::ceil<milliseconds>(until - loop_.now()));
  }
  return true;
}

}  // namespace regroup
