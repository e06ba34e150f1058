#include "core/spawn/spawn.h"

#include <sched.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <thread>

#include "test/native/support.h"
#include "test/native/tap.h"

using namespace regroup;
using namespace support;

namespace {

constexpr SpawnMethod kMethods[] = {SpawnMethod::Clone3, SpawnMethod::ClonePidfd,
                                    SpawnMethod::ClonePidfdOpen, SpawnMethod::Clone};

Spawner makeSpawner(SpawnMethod method = SpawnMethod::Clone3,
                    std::vector<std::string> disable = {}) {
  auto spawner = Spawner::create(probeFeatures(disable));
  spawner->limitTo(method);
  return std::move(*std::move(spawner));
}

struct Null {
  Fd fd{::open("/dev/null", O_RDWR | O_CLOEXEC)};
};

using Outcome = std::variant<Process, SpawnFailure>;

Outcome spawn(Spawner& spawner, const Command& command, int out = -1) {
  Null null;
  const int fds[] = {null.fd.get(), out < 0 ? null.fd.get() : out, null.fd.get()};
  auto prepared = PreparedCommand::prepare(command, fds);
  if (!prepared) return SpawnFailure{StartStep::Spawn, prepared.error()};
  return spawner.spawn(*prepared);
}

ExitStatus reap(const Outcome& outcome) {
  const auto* process = std::get_if<Process>(&outcome);
  if (process == nullptr) return {};
  auto status = waitForExit(process->pid, Reap::Yes, true);
  return status && *status ? **status : ExitStatus{};
}

/// What the fixture prints.
std::string output(Spawner& spawner, const Command& command) {
  auto pipe = makePipe();
  auto outcome = spawn(spawner, command, pipe->write.get());
  pipe->write.reset();
  std::string text = LineReader(std::move(pipe->read)).rest();
  (void)reap(outcome);
  return text;
}

bool has(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

/// The case's step and errno, whatever the method.
void checkFailure(const Command& command, StartStep step, int code) {
  for (const SpawnMethod method : kMethods) {
    Spawner spawner = makeSpawner(method);
    auto outcome = spawn(spawner, command);
    const auto* failure = std::get_if<SpawnFailure>(&outcome);
    if (!CHECK(failure != nullptr)) continue;
    CHECK_EQ(failure->step, step);
    CHECK_EQ(failure->error.code, code);
    CHECK_EQ(failure->killed, false);
    // Nothing is left of it.
    CHECK_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
  }
}

}  // namespace

TEST("every method starts a worker and reads its status") {
  for (const SpawnMethod method : kMethods) {
    Spawner spawner = makeSpawner(method);

    auto outcome = spawn(spawner, fixture({"exit", "41"}));

    CHECK_EQ(spawner.method(), method);
    const auto* process = std::get_if<Process>(&outcome);
    REQUIRE(process != nullptr);
    CHECK_EQ(static_cast<bool>(process->pidfd), method != SpawnMethod::Clone);
    const ExitStatus status = reap(outcome);
    CHECK_EQ(status.how, ExitStatus::How::Exited);
    CHECK_EQ(status.code, 41);
  }
}

TEST("a child that can't be born has no pidfd: the number that the kernel took back is anybody's") {
  const Features features = probeFeatures({});
  if (!features.clone3 || !features.cloneIntoCgroup) return tap::skip("needs CLONE_INTO_CGROUP");
  auto stack = CloneStack::map();
  REQUIRE(stack);
  const Fd noCgroup(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

  const Cloned child = cloneChild(
      *stack, CloneCall::Clone3, CLONE_PIDFD | kCloneIntoCgroup, SIGCHLD, [](void*) { ::_exit(0); },
      nullptr, noCgroup.get());

  CHECK_EQ(child.pid, -1);
  CHECK_EQ(child.error, EBADF);
  CHECK(!child.pidfd);
}

TEST("a missing program is ENOENT at exec") {
  Command command = fixture({});
  command.file = "/nonexistent/program";
  checkFailure(command, StartStep::Exec, ENOENT);
}

TEST("a program without the executable bit is EACCES at exec") {
  TempDir folder;
  Command command = fixture({});
  command.file = folder.file("plain");
  writeFile(command.file, "#!/bin/sh\n");
  checkFailure(command, StartStep::Exec, EACCES);
}

TEST("a script without #! is ENOEXEC, as in Python's subprocess") {
  TempDir folder;
  Command command = fixture({});
  command.file = folder.file("script");
  writeFile(command.file, "echo hello\n", 0755);
  checkFailure(command, StartStep::Exec, ENOEXEC);
}

TEST("a program that stays open for writing is ETXTBSY after a few tries") {
  TempDir folder;
  Command command = fixture({});
  command.file = folder.file("busy");
  writeFile(command.file, "#!/bin/sh\n", 0755);
  Fd writer(::open(command.file.c_str(), O_WRONLY | O_CLOEXEC));
  checkFailure(command, StartStep::Exec, ETXTBSY);
}

TEST("a program that was open for writing a moment ago is started after all") {
  TempDir folder;
  Command command = fixture({});
  command.file = folder.file("busy");
  writeFile(command.file, "#!/bin/sh\nexit 7\n", 0755);
  Spawner spawner = makeSpawner();
  bool started = false;
  // More than once, since the retries may be over before a busy machine lets us close it.
  for (int round = 0; round < 50 && !started; round++) {
    Fd writer(::open(command.file.c_str(), O_WRONLY | O_CLOEXEC));
    Fd events(::inotify_init1(IN_CLOEXEC));
    REQUIRE(::inotify_add_watch(events.get(), command.file.c_str(), IN_CLOSE_NOWRITE) >= 0);
    bool tried = false;
    std::thread closer([&] {
      // An execve that fails has opened the program, and closes it.
      tried = waitReadable(events, kLong);
      writer.reset();
    });

    auto outcome = spawn(spawner, command);

    closer.join();
    REQUIRE(tried);
    started = std::holds_alternative<Process>(outcome);
    if (started) CHECK_EQ(reap(outcome).code, 7);
  }
  CHECK(started);
}

TEST("a working folder that's gone is ENOENT at cwd") {
  Command command = fixture({"exit", "0"});
  command.cwd = "/nonexistent";
  checkFailure(command, StartStep::Cwd, ENOENT);
}

TEST("a descriptor that was closed is EBADF at stdio") {
  for (const SpawnMethod method : kMethods) {
    Spawner spawner = makeSpawner(method);
    auto outcome = spawn(spawner, fixture({"exit", "0"}), 4000);
    const auto* failure = std::get_if<SpawnFailure>(&outcome);
    REQUIRE(failure != nullptr);
    CHECK_EQ(failure->step, StartStep::Stdio);
    CHECK_EQ(failure->error.code, EBADF);
  }
}

TEST("a soft limit above the hard one changes nothing, a lower one is given") {
  Spawner spawner = makeSpawner();
  rlimit ours;
  ::getrlimit(RLIMIT_NOFILE, &ours);
  Command command = fixture({"status"});
  command.nofileSoft = 77;
  CHECK(has(output(spawner, command), "nofile 77"));

  command.nofileSoft = RLIM_INFINITY;
  CHECK(has(output(spawner, command), "nofile " + std::to_string(ours.rlim_cur)));
}

TEST("a worker leads a session of its own and dies with its spawning thread") {
  for (const SpawnMethod method : kMethods) {
    Spawner spawner = makeSpawner(method);
    const std::string text = output(spawner, fixture({"status"}));
    CHECK(has(text, "session own"));
    CHECK(has(text, "death signal 9"));
  }

  auto pipe = makePipe();
  Outcome outcome = SpawnFailure{};
  std::thread thread([&] {
    Spawner spawner = makeSpawner();
    outcome = spawn(spawner, fixture({"block"}), pipe->write.get());
  });
  thread.join();
  pipe->write.reset();

  CHECK(LineReader(std::move(pipe->read)).ended());
  CHECK_EQ(reap(outcome).code, SIGKILL);
}

TEST("a worker's signals are as at boot: none blocked, none ignored") {
  struct sigaction before[3];
  const int ignored[] = {SIGPIPE, SIGUSR2, SIGTERM};
  for (int i = 0; i < 3; i++) {
    struct sigaction ignore = {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(ignored[i], &ignore, &before[i]);
  }
  sigset_t all, mask;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &mask);

  for (const SpawnMethod method : kMethods) {
    Spawner spawner = makeSpawner(method);
    const std::string text = output(spawner, fixture({"status"}));
    CHECK(has(text, "SigBlk:\t0000000000000000"));
    CHECK(has(text, "SigIgn:\t0000000000000000"));
  }

  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  for (int i = 0; i < 3; i++) ::sigaction(ignored[i], &before[i], nullptr);
}

TEST("F-H1 signals that were ignored or blocked when the host was started are so in workers") {
  struct sigaction before, after;
  ::sigaction(SIGHUP, nullptr, &before);
  // Not SIGTERM: it's how workers are asked to end.
  setStartSignals({signalBit(SIGHUP) | signalBit(SIGPIPE) | signalBit(SIGTERM) | signalBit(64),
                   signalBit(SIGUSR2) | signalBit(SIGTERM)});

  for (const SpawnMethod method : kMethods) {
    for (const char* disabled : {"", "clear-sighand"}) {
      Spawner spawner = makeSpawner(method, {disabled});
      const std::string text = output(spawner, fixture({"status"}));
      CHECK(has(text, "SigBlk:\t0000000000000800"));
      CHECK(has(text, "SigIgn:\t8000000000001001"));
    }
  }

  ::sigaction(SIGHUP, nullptr, &after);
  CHECK(before.sa_handler == after.sa_handler);
  setStartSignals({});
  Spawner spawner = makeSpawner();
  CHECK(has(output(spawner, fixture({"status"})), "SigIgn:\t0000000000000000"));
}

TEST("F-H1 the host ignores them again, but none that it needs") {
  struct sigaction hangUp, child, fault, now;
  ::sigaction(SIGHUP, nullptr, &hangUp);
  ::sigaction(SIGCHLD, nullptr, &child);
  ::sigaction(SIGSEGV, nullptr, &fault);

  ignoreAgain(~uint64_t{0} & ~signalBit(SIGTERM));

  CHECK_EQ(ignoredSignals() & signalBit(SIGHUP), signalBit(SIGHUP));
  CHECK_EQ(ignoredSignals() & signalBit(SIGUSR1), signalBit(SIGUSR1));
  CHECK_EQ(ignoredSignals() & signalBit(SIGTERM), 0u);
  ::sigaction(SIGCHLD, nullptr, &now);
  CHECK(now.sa_handler == child.sa_handler);
  ::sigaction(SIGSEGV, nullptr, &now);
  CHECK(now.sa_handler == fault.sa_handler);
  for (int signal = 1; signal <= 64; signal++) {
    if (ignoredSignals() & signalBit(signal)) ::sigaction(signal, &hangUp, nullptr);
  }
}

TEST("spawning leaves the host's mask and dispositions as they were") {
  struct sigaction ignore = {}, before, after;
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &before);
  sigset_t maskBefore, maskAfter;
  ::sigprocmask(SIG_SETMASK, nullptr, &maskBefore);

  for (const SpawnMethod method : kMethods) {
    Spawner spawner = makeSpawner(method);
    (void)reap(spawn(spawner, fixture({"exit", "0"})));
  }

  ::sigprocmask(SIG_SETMASK, nullptr, &maskAfter);
  ::sigaction(SIGPIPE, &before, &after);
  CHECK(after.sa_handler == SIG_IGN);
  for (int signal = 1; signal < 32; signal++)
    CHECK_EQ(::sigismember(&maskBefore, signal), ::sigismember(&maskAfter, signal));
}

TEST("a worker gets no descriptor but those of its plan, with and without close_range") {
  std::vector<Fd> leaky;
  for (int i = 0; i < 1000; i++) leaky.emplace_back(::open("/dev/null", O_RDONLY));

  for (const char* disable : {"", "close_range"}) {
    Spawner spawner = makeSpawner(SpawnMethod::Clone3, {disable});
    CHECK(has(output(spawner, fixture({"status"})), "fds 0,1,2"));
  }
}

TEST("a descriptor that keeps its number is inherited although it was close-on-exec") {
  auto pipe = makePipe();
  Spawner spawner = makeSpawner();
  Null null;
  // Out of the way of 1 and 3, which are then made what Node makes of them.
  LineReader reader(*duplicateAbove(pipe->read.get(), 100));
  Fd writer = *duplicateAbove(pipe->write.get(), 100);
  Fd input = *duplicateAbove(null.fd.get(), 100);
  Fd savedOut = *duplicateAbove(1, 100);
  Fd savedThird = isOpen(3) ? *duplicateAbove(3, 100) : Fd();
  ::dup3(writer.get(), 1, O_CLOEXEC);
  ::dup3(input.get(), 3, O_CLOEXEC);
  ::fcntl(1, F_SETFL, O_WRONLY | O_NONBLOCK);
  const int fds[] = {input.get(), 1, input.get(), 3};

  auto command = PreparedCommand::prepare(fixture({"status"}), fds);
  auto outcome = spawner.spawn(*command);

  ::dup3(savedOut.get(), 1, 0);
  if (savedThird) ::dup3(savedThird.get(), 3, O_CLOEXEC);
  pipe->write.reset();
  writer.reset();
  const std::string text = reader.rest();
  (void)reap(outcome);
  CHECK(has(text, "fds 0,1,2,3"));
  CHECK(has(text, "fd 1 blocking"));
}

TEST("descriptors whose numbers cross each other arrive where they belong") {
  auto pipe = makePipe();
  const int saved[] = {::fcntl(0, F_DUPFD_CLOEXEC, 100), ::fcntl(1, F_DUPFD_CLOEXEC, 100)};
  ::dup3(pipe->write.get(), 0, O_CLOEXEC);  // the pipe is 0, and shall be 1
  Null null;
  const int fds[] = {1, 0, null.fd.get()};
  Spawner spawner = makeSpawner();

  auto command = PreparedCommand::prepare(fixture({"echo", "crossed"}), fds);
  ::dup3(saved[0], 0, 0);
  ::dup3(saved[1], 1, 0);
  auto outcome = spawner.spawn(*command);

  command = Error{"", 0};
  pipe->write.reset();
  for (const int fd : saved) ::close(fd);
  CHECK_EQ(LineReader(std::move(pipe->read)).rest(), "crossed\n");
  (void)reap(outcome);
}

TEST("a worker's folder, arguments and environment are those of its command") {
  TempDir folder;
  Spawner spawner = makeSpawner();
  Command command = fixture({"status"});
  command.cwd = folder.path();
  CHECK(has(output(spawner, command), "cwd " + folder.path()));

  CHECK_EQ(output(spawner, fixture({"echo", "a b"})), "a b\n");
  CHECK_EQ(output(spawner, fixture({"env"}, {"A=1", "EMPTY="})), "A=1\nEMPTY=\n");
}

TEST("a name is looked up along the worker's PATH, and EACCES beats ENOENT") {
  TempDir folder;
  for (const char* each : {"plain", "good", "folder", "folder/tool"})
    (void)::mkdir(folder.file(each).c_str(), 0755);
  writeFile(folder.file("plain/tool"), "", 0644);
  writeFile(folder.file("good/tool"), "#!/bin/sh\nexit 7\n", 0755);
  const auto command = [&](const std::string& path, const std::string& cwd = {}) {
    Command command = fixture({}, {"PATHOLOGY=/", "PATH=" + path});
    command.file = "tool";
    command.cwd = cwd;
    return command;
  };
  const std::string all = folder.file("none") + ":" + folder.file("plain") + ":" +
                          folder.file("folder") + ":" + folder.file("good");

  for (const SpawnMethod method : kMethods) {
    Spawner spawner = makeSpawner(method);
    CHECK_EQ(reap(spawn(spawner, command(all))).code, 7);
    // Relative ones count from where the worker is.
    CHECK_EQ(reap(spawn(spawner, command("good", folder.path()))).code, 7);
    CHECK_EQ(reap(spawn(spawner, command("", folder.file("good")))).code, 7);
  }
  checkFailure(command(folder.file("plain") + ":" + folder.file("none")), StartStep::Exec, EACCES);
  checkFailure(command(folder.file("none")), StartStep::Exec, ENOENT);
  CHECK(pathsOf("tool", std::vector<std::string>{"PATH=/a::/b"}) ==
        (std::vector<std::string>{"/a/tool", "./tool", "/b/tool"}));
  CHECK(pathsOf("sh", {}) == (std::vector<std::string>{"/bin/sh", "/usr/bin/sh"}));
  CHECK(pathsOf("./a/b", {}) == (std::vector<std::string>{"./a/b"}));
  Null null;
  const int fds[] = {null.fd.get(), null.fd.get(), null.fd.get()};
  const auto unnamed = PreparedCommand::prepare(Command{}, fds);
  CHECK(!unnamed && unnamed.error().code == ENOENT);
}

TEST("F-N04 which path was tried in vain is told") {
  TempDir folder;
  writeFile(folder.file("tool"), "", 0644);
  Command command = fixture({}, {"PATH=/nonexistent:" + folder.path() + ":/nonexistent"});
  command.file = "tool";
  Null null;
  const int fds[] = {null.fd.get(), null.fd.get(), null.fd.get()};
  auto prepared = PreparedCommand::prepare(command, fds);
  Spawner spawner = makeSpawner();

  const auto outcome = spawner.spawn(*prepared);

  const auto* failure = std::get_if<SpawnFailure>(&outcome);
  REQUIRE(failure != nullptr);
  CHECK_EQ(prepared->path(failure->path), folder.file("tool"));
}

TEST("256 workers start, and each has its own status") {
  Spawner spawner = makeSpawner();
  std::vector<Outcome> outcomes;
  for (int i = 0; i < 256; i++)
    outcomes.push_back(spawn(spawner, fixture({"exit", std::to_string(i)})));

  for (int i = 0; i < 256; i++) CHECK_EQ(reap(outcomes[static_cast<size_t>(i)]).code, i);
}

TEST("a cgroup that limits a worker, and can't be joined, is no start") {
  auto spawner = Spawner::create(probeFeatures());
  Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  Fd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  const int fds[] = {null.get(), null.get(), null.get()};
  const int joined[] = {null.get(), full.get()};
  auto command = PreparedCommand::prepare(fixture({"exit", "5"}), fds);

  auto outcome = spawner->spawn(*command, nullptr, {.joined = joined});

  auto* failure = std::get_if<SpawnFailure>(&outcome);
  REQUIRE(failure != nullptr);
  CHECK_EQ(failure->step, StartStep::Cgroup);
  CHECK_EQ(failure->error.code, ENOSPC);
}

TAP_MAIN
