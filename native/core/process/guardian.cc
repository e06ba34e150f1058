#include "core/process/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include "core/base/syscall.h"

namespace regroup {

namespace {

/// It ends at once when it's told to; a stopped one isn't waited for.
constexpr std::chrono::milliseconds kGoodbyeWait{200};

}  // namespace

Result<std::unique_ptr<Guardian>> Guardian::start(Spawner& spawner, const std::string& program,
                                                  const Features& features) {
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
  const int fds[] = {its.get(), null->get(), null->get()};
  auto prepared = PreparedCommand::prepare(command, fds);
  if (!prepared) return prepared.error();
  auto spawned = spawner.spawn(*prepared);
  if (const auto* failure = std::get_if<SpawnFailure>(&spawned)) return failure->error;
  return std::unique_ptr<Guardian>(
      new Guardian(std::move(*std::get_if<Process>(&spawned)), std::move(ours), features));
}

void Guardian::outlive() {
  socket_.reset();
}

Guardian::~Guardian() {
  if (!socket_) return;
  tell("Q\n");
  (void)::shutdown(socket_.get(), SHUT_WR);
  if (process_.pidfd && waitReadable(process_.pidfd, kGoodbyeWait)) {
    (void)waitForExit(process_.pid, Reap::Yes);
    return;
  }
  // Fallback: kernel < 5.3; or it's stopped, or traced. It has nothing to guard any more.
  (void)killPid(process_.pid, SIGKILL);
  (void)waitForExit(process_.pid, Reap::Yes, true);
}

bool Guardian::alive() const {
  // Without a pidfd its socket tells.
  char byte;
  const ssize_t size = ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return size < 0 && errno == EAGAIN;
}

void Guardian::begin(uint64_t group, const std::string& cookie) {
  std::string line = "G ";
  line.append(std::to_string(group)).append(" ").append(cookie).append("\n");
  tell(line);
}

void Guardian::watch(uint64_t group, std::span<const pid_t> leaders) {
  std::string lines;
  for (const pid_t leader : leaders) {
    lines.append("W ").append(std::to_string(group)).append(" ");
    lines.append(std::to_string(leader)).append("\n");
  }
  tell(lines);
}

void Guardian::addCgroup(uint64_t group, const std::string& path) {
  std::string line = "C ";
  line.append(std::to_string(group)).append(" ").append(path).append("\n");
  tell(line);
}

void Guardian::willMove(Controllers controllers, const std::string& home, const std::string& leaf) {
  std::string lines = "H ";
  lines.append(std::to_string(controllers)).append(" ").append(home).append("\n");
  lines.append("L 0 ").append(leaf).append("\n");
  tell(lines);
}

void Guardian::end(uint64_t group) {
  std::string line = "E ";
  line.append(std::to_string(group)).append("\n");
  tell(line);
}

void Guardian::tell(const std::string& lines) {
  (void)::send(socket_.get(), lines.data(), lines.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace regroup
