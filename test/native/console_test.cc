#include "core/output/console.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "core/base/loop.h"
#include "core/base/syscall.h"
#include "test/native/tap.h"

using namespace regroup;

namespace {

/// A pseudoterminal that passes bytes as they are.
struct Terminal {
  Fd master{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
  Fd slave;

  Terminal() {
    if (!master || ::grantpt(master.get()) < 0 || ::unlockpt(master.get()) < 0) return;
    slave = Fd(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    termios raw;
    if (::tcgetattr(slave.get(), &raw) < 0) return;
    ::cfmakeraw(&raw);
    (void)::tcsetattr(slave.get(), TCSANOW, &raw);
  }

  std::string read() const {
    std::string shown(4096, '\0');
    const ssize_t n = ::read(master.get(), shown.data(), shown.size());
    shown.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return shown;
  }
};

/// Runs `body` in a child that leads a session whose terminal is `terminal`. 0 says that all held.
int inSessionOf(const Terminal& terminal, int (*body)(const Terminal&)) {
  const pid_t child = ::fork();
  if (child == 0) {
    // Its terminal hangs up when the leader ends.
    ::signal(SIGHUP, SIG_IGN);
    if (::setsid() < 0 || ::ioctl(terminal.slave.get(), TIOCSCTTY, 0) < 0) ::_exit(100);
    ::_exit(body(terminal));
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

bool nonBlocking(const Fd& fd) {
  return (::fcntl(fd.get(), F_GETFL) & O_NONBLOCK) != 0;
}

std::shared_ptr<Loop> newLoop() {
  return std::move(*Loop::create());
}

std::shared_ptr<Helpers> newHelpers() {
  return std::make_shared<Helpers>();
}

/// Opens a description of its own only by way of /dev/tty, like the agent after a change of user.
int writesBehindDevTty(const Terminal& terminal) {
  Fd tty(::open("/dev/tty", O_WRONLY | O_NOCTTY | O_CLOEXEC));
  if (!tty) return 1;
  if (!Console::same(tty.get(), terminal.slave.get())) return 2;
  const Terminal other;
  if (Console::same(tty.get(), other.slave.get())) return 3;

  Console console(newLoop(), newHelpers(), tty.get(), {});
  console.write(1, "through /dev/tty\n");
  if (console.queuedBytes() != 0 || console.takeError()) return 5;
  // Its flags are those of whoever opened it.
  return nonBlocking(tty) ? 6 : 0;
}

/// In a child as root gives it up: the terminal's file belongs to root, and only /dev/tty opens.
int writesAsSomebodyElse(const Terminal& terminal) {
  if (::fchown(terminal.slave.get(), 0, 0) < 0 || ::fchmod(terminal.slave.get(), 0600) < 0)
    return 1;
  constexpr unsigned kNobody = 65534;
  if (::setgid(kNobody) < 0 || ::setuid(kNobody) < 0) return 2;
  if (Fd(::open(::ptsname(terminal.master.get()), O_WRONLY | O_NOCTTY | O_CLOEXEC))) return 3;

  Console console(newLoop(), newHelpers(), terminal.slave.get(), {});
  // Reopened, it takes bytes at once; without, only when epoll says so.
  console.write(1, "as nobody\n");
  if (console.queuedBytes() != 0 || console.takeError()) return 5;
  return nonBlocking(terminal.slave) ? 6 : 0;
}

}  // namespace

TEST("/dev/tty is the terminal behind it, and stays blocking for others") {
  const Terminal terminal;
  REQUIRE(terminal.slave);

  CHECK_EQ(inSessionOf(terminal, writesBehindDevTty), 0);

  CHECK_EQ(terminal.read(), "through /dev/tty\n");
}

TEST("a terminal that belongs to somebody else is opened as /dev/tty") {
  if (::geteuid() != 0) return tap::skip("needs root");
  const Terminal terminal;
  REQUIRE(terminal.slave);

  CHECK_EQ(inSessionOf(terminal, writesAsSomebodyElse), 0);

  CHECK_EQ(terminal.read(), "as nobody\n");
}

TEST("a terminal whose other side is gone is EIO, told once, and takes nothing more") {
  for (const bool mayReopen : {true, false}) {
    Terminal terminal;
    REQUIRE(terminal.slave);
    const auto loop = newLoop();
    Console::Options options;
    options.mayReopen = mayReopen;
    options.onChange = [&] { loop->stop(); };
    Console console(loop, newHelpers(), terminal.slave.get(), options);
    terminal.master.reset();

    console.write(1, "unseen\n");
    if (console.queuedBytes() > 0) loop->run();  // this way writes only when epoll says so

    CHECK_EQ(console.state(), Console::State::Dead);
    CHECK_EQ(console.queuedBytes(), 0u);
    const auto error = console.takeError();
    REQUIRE(error);
    CHECK_EQ(error->code, EIO);
    CHECK(!console.takeError());
    console.write(1, "unseen\n");
    CHECK_EQ(console.queuedBytes(), 0u);
    CHECK_EQ(console.settled(), console.accepted());
  }
}

TEST("F-N11: a console that makes its writer wait makes a helper wait, and nobody else") {
  Terminal terminal;
  REQUIRE(terminal.slave);
  REQUIRE_EQ(::tcflow(terminal.slave.get(), TCOOFF), 0);  // as Ctrl-S does
  const auto loop = newLoop();
  Console::Options options;
  options.mayReopen = false;
  {
    Console left(loop, newHelpers(), terminal.slave.get(), options);
    left.write(1, "stuck\n");
    CHECK_EQ(left.queuedBytes(), 6u);
  }  // the point: it can be left
  Console* told = nullptr;
  options.onChange = [&] {
    if (told->queuedBytes() == 0) loop->stop();
  };
  Console console(loop, newHelpers(), terminal.slave.get(), options);
  told = &console;
  console.write(1, "one\n");
  console.write(1, "two\n");
  CHECK_EQ(console.queuedBytes(), 8u);

  REQUIRE_EQ(::tcflow(terminal.slave.get(), TCOON), 0);
  loop->run();

  std::string shown;
  while (shown.size() < 14) shown += terminal.read();
  CHECK(shown.find("one\ntwo\n") != std::string::npos);
}

TEST("F-N11: a console that takes nothing can be left though somebody made it non-blocking") {
  Terminal terminal;
  REQUIRE(terminal.slave);
  REQUIRE_EQ(::tcflow(terminal.slave.get(), TCOOFF), 0);
  REQUIRE_EQ(::fcntl(terminal.slave.get(), F_SETFL, O_NONBLOCK), 0);
  Console::Options options;
  options.mayReopen = false;

  Console left(newLoop(), newHelpers(), terminal.slave.get(), options);
  left.write(1, "stuck\n");

  CHECK_EQ(left.queuedBytes(), 6u);
}  // the point: it returns

TAP_MAIN
