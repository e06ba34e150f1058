#include "core/process/supervisor.h"

#include <signal.h>
#include <sys/wait.h>

#include <set>
#include <thread>

#include "test/native/group_harness.h"

using namespace regroup;
using namespace support;

namespace {

/// Runs the case on every variant; a failure names it.
void onEveryVariant(void (*body)(Harness&)) {
  for (const auto& variant : kVariants) {
    const std::string before = tap::state().failures;
    {
      Harness harness(variant);
      body(harness);
    }
    if (tap::state().failures != before) tap::fail(__FILE__, __LINE__, nameOf(variant));
  }
}

bool gone(pid_t pid) {
  return ::kill(pid, 0) < 0 && errno == ESRCH;
}

}  // namespace

TEST("a group starts, its workers' exits are told one by one, and then its end") {
  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    harness->startGroup(group(7, witness, {{"exit", "0"}, {"exit", "255"}, {"die", "11"}}));

    const Started started = harness.next<Started>();
    std::set<size_t> seen;
    for (int i = 0; i < 3; i++) {
      const Exited exited = harness.next<Exited>();
      seen.insert(exited.index);
      CHECK_EQ(exited.pid, started.pids[exited.index]);
      if (exited.index == 0) CHECK(exitedWith(exited, 0));
      if (exited.index == 1) CHECK(exitedWith(exited, 255));
      if (exited.index == 2) CHECK(signaledWith(exited, SIGSEGV));
    }
    const Ended ended = harness.next<Ended>();

    CHECK_EQ(seen.size(), 3u);
    CHECK_EQ(ended.strays.size(), 0u);
    CHECK(ended.stuck.empty());
    CHECK(witness.reader().ended());
    for (const pid_t pid : started.pids) CHECK(gone(pid));
  });
}

TEST("if one worker can't start, none is left, and its index, step and path are told") {
  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    GroupPlan plan = group(1, witness, {{"ignore-term"}, {"block"}, {"block"}});
    plan.workers[2].command.file = "/nonexistent/program";

    harness->startGroup(std::move(plan));

    const StartFailed failed = harness.next<StartFailed>();
    CHECK_EQ(failed.index, 2u);
    CHECK_EQ(failed.step, StartStep::Exec);
    CHECK_EQ(failed.error.code, ENOENT);
    CHECK_EQ(failed.detail, "/nonexistent/program");
    CHECK(witness.reader().ended());
  });
}

TEST("each step that fails before the spawn is told with its path") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  GroupPlan lost = group(1, witness, {{"exit", "0"}});
  lost.workers[0].command.file = "no-such-program";
  GroupPlan unwritable = group(2, witness, {{"exit", "0"}});
  unwritable.workers[0].streams[1].sinks.file = "/nonexistent/err.log";
  GroupPlan homeless = group(3, witness, {{"exit", "0"}});
  homeless.workers[0].command.cwd = "/nonexistent";

  harness->startGroup(std::move(lost));
  const StartFailed resolve = harness.next<StartFailed>();
  harness->startGroup(std::move(unwritable));
  const StartFailed output = harness.next<StartFailed>();
  harness->startGroup(std::move(homeless));
  const StartFailed cwd = harness.next<StartFailed>();

  CHECK_EQ(resolve.step, StartStep::Resolve);
  CHECK_EQ(resolve.detail, "no-such-program");
  CHECK_EQ(output.step, StartStep::Output);
  CHECK_EQ(output.detail, "/nonexistent/err.log");
  CHECK_EQ(cwd.step, StartStep::Cwd);
  CHECK_EQ(cwd.detail, "/nonexistent");
}

TEST("a stop signals each worker, whose exits then tell how it took it") {
  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    harness->startGroup(group(1, witness, {{"exit-on-term"}, {"exit-on-term"}}));
    (void)harness.next<Started>();
    await(witness, "ready", 2);

    harness->stopGroup(1, gentle());

    CHECK(exitedWith(harness.next<Exited>(), 43));
    CHECK(exitedWith(harness.next<Exited>(), 43));
    CHECK_EQ(harness.next<Ended>().strays.size(), 0u);
  });
}

TEST("a worker that ignores SIGTERM is killed when the grace period ends") {
  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    harness->startGroup(group(1, witness, {{"ignore-term"}, {"ignore-term"}}));
    (void)harness.next<Started>();
    await(witness, "ready", 2);

    const TimePoint asked = monotonicNow();
    harness->stopGroup(1, {SIGTERM, Target::Leader, 20ms, 5s});

    TimePoint at;
    CHECK(signaledWith(harness.next<Exited>(&at), SIGKILL));
    CHECK(at - asked >= 20ms);
    CHECK(signaledWith(harness.next<Exited>(), SIGKILL));
    (void)harness.next<Ended>();
  });
}

TEST("a second stop shortens the grace period") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  harness->startGroup(group(1, witness, {{"ignore-term"}}));
  (void)harness.next<Started>();
  await(witness, "ready");

  harness->stopGroup(1, gentle());
  harness->stopGroup(1, kKill);

  CHECK(signaledWith(harness.next<Exited>(), SIGKILL));
  (void)harness.next<Ended>();
}

TEST("a second stop can't lengthen the grace period") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  harness->startGroup(group(1, witness, {{"ignore-term"}}));
  (void)harness.next<Started>();
  await(witness, "ready");

  harness->stopGroup(1, {SIGTERM, Target::Leader, 20ms, 5s});
  harness->stopGroup(1, gentle());

  CHECK(signaledWith(harness.next<Exited>(), SIGKILL));
  (void)harness.next<Ended>();
}

TEST("a stopped worker is continued, so that it can act on the signal") {
  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    harness->startGroup(group(1, witness, {{"stopped"}}));
    (void)harness.next<Started>();
    await(witness, "ready");

    harness->stopGroup(1, gentle());

    CHECK(exitedWith(harness.next<Exited>(), 44));
    (void)harness.next<Ended>();
  });
}

TEST("a stop with target leader lets the worker's children live until it's gone, then kills them") {
  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    harness->startGroup(group(1, witness, {{"leave-child-on-term"}}));
    (void)harness.next<Started>();
    const pid_t child = await(witness, "child");
    await(witness, "ready");

    harness->stopGroup(1, gentle());

    CHECK(exitedWith(harness.next<Exited>(), 0));
    (void)harness.next<Ended>();
    CHECK(witness.reader().ended());
    CHECK(isDead(statusOf(child)));
  });
}

TEST("a stop with target group gives the grace period to those who outlive the leader") {
  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    // The shell dies of the signal; its child ends a moment later, and says so.
    GroupPlan plan = group(1, witness, {{"unused"}});
    plan.workers[0].command.file = "/bin/sh";
    plan.workers[0].command.argv = {"sh", "-c", REGROUP_FIXTURE " save-on-term & wait; wait"};
    harness->startGroup(std::move(plan));
    (void)harness.next<Started>();
    await(witness, "ready");

    StopRequest request = gentle();
    request.target = Target::Group;
    harness->stopGroup(1, request);

    CHECK(signaledWith(harness.next<Exited>(), SIGTERM));
    await(witness, "saved");
    CHECK_EQ(harness.next<Ended>().strays.size(), size_t{0});
  });
}

TEST("a stop with target group signals the worker's children too") {
  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    // The shell doesn't pass the signal on, and doesn't die of it.
    GroupPlan plan = group(1, witness, {{"unused"}});
    plan.workers[0].command.file = "/bin/sh";
    plan.workers[0].command.argv = {"sh", "-c",
                                    "trap : TERM; " REGROUP_FIXTURE " exit-on-term; exit $?"};
    harness->startGroup(std::move(plan));
    (void)harness.next<Started>();
    await(witness, "ready");

    harness->stopGroup(1, {SIGTERM, Target::Group, 60s, 5s});

    CHECK(exitedWith(harness.next<Exited>(), 43));
    (void)harness.next<Ended>();
  });
}

TEST("a worker whose leader dies leaves no children, though they ignore SIGTERM") {
  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    harness->startGroup(group(1, witness, {{"leave-child", "3"}}));
    (void)harness.next<Started>();
    await(witness, "child");

    CHECK(exitedWith(harness.next<Exited>(), 3));
    CHECK_EQ(harness.next<Ended>().strays.size(), 1u);
    CHECK(witness.reader().ended());
  });
}

TEST("a child without environment is found by its session") {
  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    harness->startGroup(group(1, witness, {{"bare-child", "1"}}));
    (void)harness.next<Started>();

    CHECK(exitedWith(harness.next<Exited>(), 1));
    CHECK_EQ(harness.next<Ended>().strays.size(), 1u);
    CHECK(witness.reader().ended());
  });
}

TEST("a double-forked daemon with its own session is found by its cookie and killed") {
  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    harness->startGroup(group(1, witness, {{"stubborn-daemon", "1"}}));
    (void)harness.next<Started>();
    const pid_t daemon = await(witness, "daemon");

    CHECK(exitedWith(harness.next<Exited>(), 1));
    CHECK_EQ(harness.next<Ended>().strays.size(), 1u);
    CHECK(witness.reader().ended());
    CHECK(isDead(statusOf(daemon)));
  });
}

TEST("what a successful group leaves behind gets SIGTERM first") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  harness->startGroup(group(1, witness, {{"daemon", "0"}}));
  (void)harness.next<Started>();

  CHECK(exitedWith(harness.next<Exited>(), 0));
  // A default action ends it at once; the grace needn't pass.
  const TimePoint before = monotonicNow();
  CHECK_EQ(harness.next<Ended>().strays.size(), 1u);
  CHECK(monotonicNow() - before < 4s);
  CHECK(witness.reader().ended());
}

TEST("a stop cuts short the grace of what a successful group left behind") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  harness->startGroup(group(1, witness, {{"stubborn-daemon", "0"}}));
  (void)harness.next<Started>();
  CHECK(exitedWith(harness.next<Exited>(), 0));

  const TimePoint before = monotonicNow();
  harness->stopGroup(1, kKill);

  CHECK_EQ(harness.next<Ended>().strays.size(), 1u);
  CHECK(monotonicNow() - before < 4s);
  CHECK(witness.reader().ended());
}

TEST("a process with another group's cookie is left alone") {
  Harness harness;
  TempDir folder;
  Witness one(folder, "one"), two(folder, "two");
  harness->startGroup(group(1, one, {{"block"}}));
  (void)harness.next<Started>();
  await(one, "ready");
  harness->startGroup(group(2, two, {{"stubborn-daemon", "1"}}));
  (void)harness.next<Started>();
  CHECK(exitedWith(harness.next<Exited>(), 1));
  CHECK_EQ(harness.next<Ended>().strays.size(), 1u);

  // Had it been hit, its exit would come first.
  harness->stopGroup(1, gentle());

  CHECK(signaledWith(harness.next<Exited>(), SIGTERM));
  (void)harness.next<Ended>();
}

TEST("a worker whose main thread has ended is running until its last thread ends") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  const std::string input = folder.file("input");
  (void)::mkfifo(input.c_str(), 0600);
  GroupPlan plan = group(1, witness, {{"leader-thread-ends"}});
  Fd hold(::open(input.c_str(), O_RDWR | O_CLOEXEC));
  Fd reader(::open(input.c_str(), O_RDONLY | O_CLOEXEC));
  const int saved = ::fcntl(0, F_DUPFD_CLOEXEC, 100);
  ::dup2(reader.get(), 0);
  plan.workers[0].inheritStdin = true;
  harness->startGroup(std::move(plan));
  (void)harness.next<Started>();
  ::dup2(saved, 0);
  ::close(saved);
  await(witness, "ready");

  hold.reset();

  CHECK(exitedWith(harness.next<Exited>(), 45));
  (void)harness.next<Ended>();
}

TEST("256 workers start, and all are gone after one stop") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  harness->startGroup(
      group(1, witness, std::vector<std::vector<std::string>>(256, {"exit-on-term"})));
  const Started started = harness.next<Started>();
  await(witness, "ready", 256);

  harness->stopGroup(1, gentle());

  std::set<pid_t> seen;
  for (int i = 0; i < 256; i++) {
    const Exited exited = harness.next<Exited>();
    CHECK(exitedWith(exited, 43));
    seen.insert(exited.pid);
  }
  (void)harness.next<Ended>();
  CHECK_EQ(seen, std::set<pid_t>(started.pids.begin(), started.pids.end()));
}

TEST("a status that the host took with waitpid(-1) is unknown, and the group still ends") {
  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    // It can't be told who is first; either way the exit is told once, and the group ends.
    harness->startGroup(group(1, witness, {{"block"}}));
    const Started started = harness.next<Started>();
    await(witness, "ready");
    std::thread thief([&] {
      while (::waitpid(-1, nullptr, 0) < 0 && errno == EINTR) continue;
    });
    ::kill(started.pids[0], SIGKILL);

    const Exited exited = harness.next<Exited>();

    CHECK(exited.status.how == ExitStatus::How::Unknown || signaledWith(exited, SIGKILL));
    (void)harness.next<Ended>();
    thief.join();
  });
}

TEST("where the host ignores SIGCHLD, a worker's status is unknown, and its end is told") {
  struct sigaction ignore = {}, before;
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGCHLD, &ignore, &before);

  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    harness->startGroup(group(1, witness, {{"exit", "3"}, {"leave-child", "0"}}));
    (void)harness.next<Started>();
    for (int i = 0; i < 2; i++)
      CHECK_EQ(harness.next<Exited>().status.how, ExitStatus::How::Unknown);
    (void)harness.next<Ended>();
    CHECK(witness.reader().ended());
  });

  ::sigaction(SIGCHLD, &before, nullptr);
}

TEST("an exit is told while siblings live, and its pid isn't reused until the group ends") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  harness->startGroup(group(1, witness, {{"exit", "0"}, {"block"}}));
  (void)harness.next<Started>();
  await(witness, "ready");

  const Exited exited = harness.next<Exited>();

  CHECK_EQ(stateOf(exited.pid), 'Z');
  harness->stopGroup(1, gentle());
  CHECK(signaledWith(harness.next<Exited>(), SIGTERM));
  (void)harness.next<Ended>();
  CHECK(gone(exited.pid));
}

TEST("a signal reaches every live worker and stops nothing") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  harness->startGroup(group(1, witness, {{"exit-on-term"}, {"block"}}));
  (void)harness.next<Started>();
  await(witness, "ready", 2);

  harness->signalGroup(1, SIGCONT, Target::Leader);
  harness->signalGroup(1, SIGUSR1, Target::Leader);

  CHECK(signaledWith(harness.next<Exited>(), SIGUSR1));
  CHECK(signaledWith(harness.next<Exited>(), SIGUSR1));
  (void)harness.next<Ended>();
}

TEST("a signal to one worker reaches it alone, and nobody once it's gone") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  harness->startGroup(group(1, witness, {{"block"}, {"block"}}));
  (void)harness.next<Started>();
  await(witness, "ready", 2);

  harness->signalLeader(1, 2, SIGKILL);
  harness->signalLeader(2, 0, SIGKILL);
  harness->signalLeader(1, 1, SIGUSR1);
  const auto first = harness.next<Exited>();
  harness->signalLeader(1, 1, SIGKILL);
  harness->signalLeader(1, 0, SIGUSR2);

  CHECK(signaledWith(first, SIGUSR1));
  CHECK(signaledWith(harness.next<Exited>(), SIGUSR2));
  (void)harness.next<Ended>();
}

TEST("stops and signals to groups that aren't there do nothing") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);

  harness->stopGroup(1, kKill);
  harness->signalGroup(1, SIGKILL, Target::Group);
  harness->startGroup(group(1, witness, {{"exit", "0"}}));

  (void)harness.next<Started>();
  CHECK(exitedWith(harness.next<Exited>(), 0));
  (void)harness.next<Ended>();
}

TEST("a group that's still starting is stopped as soon as it has started") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  GroupPlan plan = group(1, witness, {{"ignore-term"}});
  for (StreamPlan& stream : plan.workers[0].streams) stream.to = StreamPlan::To::Null;

  harness->startGroup(std::move(plan));
  harness->stopGroup(1, kKill);

  (void)harness.next<Started>();
  CHECK(signaledWith(harness.next<Exited>(), SIGKILL));
  (void)harness.next<Ended>();
}

TEST("a group's number that's in use is refused") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  harness->startGroup(group(1, witness, {{"block"}}));
  harness->startGroup(group(1, witness, {{"block"}}));

  // While the first one's files are being opened.
  CHECK_EQ(harness.next<StartFailed>().error.code, EEXIST);
  (void)harness.next<Started>();
}

TEST("a group without workers starts and ends") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);

  harness->startGroup(group(1, witness, {}));

  CHECK(harness.next<Started>().pids.empty());
  (void)harness.next<Ended>();
}

TEST("killAll leaves nobody, in bounded time, though all ignore SIGTERM") {
  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    harness->startGroup(group(1, witness, {{"ignore-term"}, {"leave-child-on-term"}}));
    harness->startGroup(group(2, witness, {{"ignore-term"}}));
    await(witness, "ready", 3);

    harness->killAll(10s);

    CHECK(witness.reader().ended());
  });
}

TEST("closing a supervisor leaves no worker, thread or descriptor") {
  const size_t before = openDescriptors();
  for (const auto& variant : kVariants) {
    TempDir folder;
    Witness witness(folder);
    {
      Harness harness(variant);
      harness->startGroup(group(1, witness, {{"ignore-term"}, {"leave-child-on-term"}}));
      await(witness, "ready", 2);
      harness->close();
      harness->close();
      harness->startGroup(group(2, witness, {{"block"}}));
      harness->stopGroup(1, kKill);
      harness->killAll(1s);
    }
    CHECK(witness.reader().ended());
  }
  CHECK_EQ(openDescriptors(), before);
  CHECK_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
}

TEST("piped output reaches its file, and its tail comes with the group's end") {
  onEveryVariant([](Harness& harness) {
    TempDir folder;
    Witness witness(folder);
    GroupPlan plan = group(1, witness, {{"echo", "one"}, {"echo", "two"}});
    plan.tailBytes = 100;
    for (size_t i = 0; i < 2; i++) {
      plan.workers[i].streams[0].to = StreamPlan::To::Pipe;
      plan.workers[i].streams[0].sinks.file = folder.file("out" + std::to_string(i));
    }

    harness->startGroup(std::move(plan));

    (void)harness.next<Started>();
    (void)harness.next<Exited>();
    (void)harness.next<Exited>();
    const Ended ended = harness.next<Ended>();
    REQUIRE_EQ(ended.tails.size(), 2u);
    CHECK_EQ(ended.tails[0].bytes, "one\n");
    CHECK_EQ(ended.tails[1].index, 1u);
    CHECK_EQ(ended.tails[1].stream, 0u);
    CHECK_EQ(ended.tails[1].bytes, "two\n");
    CHECK_EQ(*readFile(folder.file("out1").c_str(), 100), "two\n");
  });
}

TEST("a start that fails gives its pipes back") {
  const size_t before = openDescriptors();
  {
    Harness harness;
    TempDir folder;
    Witness witness(folder);
    GroupPlan plan = group(1, witness, {{"block"}, {"block"}});
    for (auto& worker : plan.workers) worker.streams[0].to = StreamPlan::To::Pipe;
    plan.workers[1].command.file = "/nonexistent";

    harness->startGroup(std::move(plan));

    CHECK_EQ(harness.next<StartFailed>().step, StartStep::Exec);
    CHECK(witness.reader().ended());
  }
  CHECK_EQ(openDescriptors(), before);
}

TAP_MAIN

TEST("a supervisor that's held up owes an answer until it goes on") {
  const auto free = std::make_shared<Fd>(*makeEventFd());
  const auto held = std::make_shared<Fd>(*makeEventFd());
  auto supervisor = *Supervisor::start({.onEvent = [free, held](const SupervisorEvent& event) {
    if (!std::holds_alternative<Started>(event.what)) return;
    signalEvent(*held);
    (void)waitReadable(*free, 60s);
  }});
  CHECK_EQ(supervisor->owes().count(), 0);
  supervisor->startGroup({1, makeCookie(), {}, 0, 0ms});
  CHECK(waitReadable(*held, 60s));

  CHECK_EQ(supervisor->owes().count(), 0);
  while (supervisor->owes() == 0ms) ::sched_yield();

  signalEvent(*free);
  while (supervisor->owes() != 0ms) ::sched_yield();
  supervisor->close();
}
