#include "core/process/remains.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "core/base/syscall.h"
#include "core/process/guests.h"
#include "test/native/support.h"
#include "test/native/tap.h"

using namespace regroup;
using namespace support;
using namespace std::chrono_literals;

namespace {

Guardian* none() {
  return nullptr;
}

/// An empty folder is removed as a cgroup is: by rmdir.
std::string makeFolder(const TempDir& temp, const char* name) {
  std::string path = temp.file(name);
  (void)::mkdir(path.c_str(), 0755);
  return path;
}

bool isThere(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

/// Sleeps until it's killed.
pid_t sleeper() {
  const pid_t pid = ::fork();
  if (pid == 0) {
    for (;;) ::pause();
  }
  return pid;
}

Stray strayOf(pid_t pid) {
  Stray stray;
  stray.pid = pid;
  if (auto pidfd = openPidfd(pid)) stray.pidfd = *std::move(pidfd);
  return stray;
}

/// Looks each millisecond, for at most ten seconds.
void runUntil(Loop& loop, const std::function<bool()>& isOver) {
  const TimePoint end = loop.now() + 10s;
  std::function<void()> look = [&] {
    if (isOver() || loop.now() > end) return loop.stop();
    loop.setTimer(loop.now() + 1ms, look);
  };
  look();
  loop.run();
}

}  // namespace

TEST("what nobody is in is removed when it's looked at") {
  const TempDir temp;
  auto loop = *Loop::create();
  Remains remains(*loop, {}, none);
  const std::string folder = makeFolder(temp, "one");

  remains.add({1, "cookie", {folder}, {}});
  CHECK(isThere(folder));
  remains.remove();

  CHECK(!isThere(folder));
  CHECK(remains.isEmpty());
}

TEST("somebody in it keeps it until he has ended") {
  const TempDir temp;
  auto loop = *Loop::create();
  Remains remains(*loop, {}, none);
  const std::string folder = makeFolder(temp, "one");
  const pid_t pid = sleeper();
  std::vector<Stray> strays;
  strays.push_back(strayOf(pid));
  if (!strays[0].pidfd) return;  // then it's looked for in the end

  remains.add({1, "cookie", {folder}, std::move(strays)});
  remains.remove();
  CHECK(isThere(folder));
  CHECK(!remains.isEmpty());
  (void)::kill(pid, SIGKILL);
  runUntil(*loop, [&] { return remains.isEmpty(); });

  CHECK(remains.isEmpty());
  CHECK(!isThere(folder));
  CHECK_EQ(::waitpid(pid, nullptr, 0), pid);
}

TEST("a folder that isn't empty stays, and others go") {
  const TempDir temp;
  auto loop = *Loop::create();
  Remains remains(*loop, {}, none);
  const std::string full = makeFolder(temp, "full");
  const std::string file = full + "/file";
  const Fd made(::open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  const std::string empty = makeFolder(temp, "empty");

  remains.add({1, "one", {full}, {}});
  remains.add({2, "two", {empty}, {}});
  remains.remove();
  CHECK(isThere(full) && !isThere(empty));
  CHECK(!remains.isEmpty());
  (void)::unlink(file.c_str());
  remains.remove();

  CHECK(remains.isEmpty());
}

TEST("one that takes its time is looked at again, though nothing happens") {
  const TempDir temp;
  auto loop = *Loop::create();
  Remains remains(*loop, {}, none);
  const std::string folder = makeFolder(temp, "one");
  const std::string file = folder + "/file";
  const Fd made(::open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  remains.add({1, "cookie", {folder}, {}});
  remains.remove();
  CHECK(isThere(folder));

  (void)::unlink(file.c_str());
  runUntil(*loop, [&] { return remains.isEmpty(); });

  CHECK(!isThere(folder));
}

TEST("in the end it's waited for, but not for ever") {
  const TempDir temp;
  auto loop = *Loop::create();
  Remains remains(*loop, {}, none);
  const std::string folder = makeFolder(temp, "one");
  const std::string file = folder + "/file";
  const Fd made(::open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  remains.add({1, "cookie", {folder}, {}});

  remains.removeWithin(10ms);
  CHECK(!remains.isEmpty());
  std::thread later([&] {
    std::this_thread::sleep_for(50ms);
    (void)::unlink(file.c_str());
  });
  remains.removeWithin(10s);
  later.join();

  CHECK(remains.isEmpty());
}

TEST("guests have numbers of their own, and orphans wait for the last of them") {
  Guests guests;
  const uint64_t one = guests.begin("one").id;
  const uint64_t two = guests.begin("two").id;

  CHECK(one != two);
  CHECK(guests.deferOrphans());
  CHECK(guests.end("nobody") == std::nullopt);
  CHECK(guests.end("one") == one);
  CHECK(!guests.takeDeferred());
  CHECK(guests.end("two") == two);
  CHECK(guests.takeDeferred());
  CHECK(!guests.takeDeferred());
  CHECK(!guests.deferOrphans());
}

TAP_MAIN
