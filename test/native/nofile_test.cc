#include "core/base/nofile.h"

#include "core/base/features.h"
#include "core/spawn/spawn.h"
#include "test/native/support.h"
#include "test/native/tap.h"

using namespace regroup;
using namespace support;

namespace {

rlimit nofile() {
  rlimit limit{};
  (void)::getrlimit(RLIMIT_NOFILE, &limit);
  return limit;
}

/// What a worker that's spawned now says of its limit.
std::string workersNofile(std::optional<rlim_t> asked = {}) {
  auto spawner = Spawner::create(probeFeatures({}));
  auto pipe = makePipe();
  Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  Command command = fixture({"status"});
  command.nofileSoft = asked;
  const int fds[] = {null.get(), pipe->write.get(), null.get()};
  auto prepared = PreparedCommand::prepare(command, fds);
  auto outcome = spawner->spawn(*prepared);
  pipe->write.reset();
  const std::string text = LineReader(std::move(pipe->read)).rest();
  const auto* process = std::get_if<Process>(&outcome);
  if (process != nullptr) (void)waitForExit(process->pid, Reap::Yes, true);
  const size_t at = text.find("nofile ");
  return at == std::string::npos ? text : text.substr(at + 7, text.find('\n', at) - at - 7);
}

}  // namespace

TEST("T-067 the soft limit of open files becomes the hard one, but not for workers") {
  rlimit limit = nofile();
  REQUIRE(limit.rlim_max > 200);
  limit.rlim_cur = 200;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(!nofileBeforeRaise());

  raiseNofile();
  raiseNofile();

  CHECK_EQ(nofile().rlim_cur, limit.rlim_max);
  CHECK_EQ(workersNofile(), "200");
  CHECK_EQ(workersNofile(100), "100");
}

TEST("workers have the limit that the host was told, though it had been raised before us") {
  setNofileBeforeRaise(300);

  CHECK_EQ(workersNofile(), "300");
  CHECK_EQ(workersNofile(100), "100");

  setNofileBeforeRaise(RLIM_INFINITY);
  CHECK_EQ(workersNofile(), std::to_string(nofile().rlim_cur));
}

TAP_MAIN
