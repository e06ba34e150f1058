#include <sched.h>
#include <signal.h>

#include <algorithm>

#include "core/cgroup/places.h"
#include "core/process/standby_channel.h"
#include "test/native/agent_harness.h"
#include "test/native/freezer.h"

using namespace regroup;
using namespace support;

namespace {

std::string sized(const std::string& body) {
  const auto length = static_cast<uint32_t>(body.size());
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + body;
}

/// Standbys of these kinds, as the fixture has them. Their round's output goes to the witness.
GroupPlan standbys(GroupId id, const Witness& witness, const std::vector<std::string>& kinds) {
  std::vector<std::vector<std::string>> workers;
  for (const std::string& kind : kinds) workers.push_back({"standby", kind});
  GroupPlan plan = group(id, witness, std::move(workers));
  plan.parks = true;
  for (WorkerPlan& worker : plan.workers) worker.standbyWords = sized("prepare");
  return plan;
}

/// Reads what `count` standbys say first.
void awaitParked(Harness& harness, size_t count) {
  for (size_t i = 0; i < count; i++)
    CHECK_EQ(typeOfMessage(harness.next<StandbySaid>().message), "parked prepare");
}

/// The round that they're for: each runs this mode, be it in its standby or in its place.
GroupPlan roundOf(GroupId id, const Witness& witness, const std::string& cookie, size_t count,
                  const std::vector<std::string>& mode) {
  GroupPlan plan = group(id, witness, std::vector<std::vector<std::string>>(count, mode));
  plan.cookie = cookie;
  return plan;
}

std::vector<std::string> orders(size_t count, const std::string& mode) {
  return std::vector<std::string>(count, sized(mode));
}

/// Without log files, whose opening would be waited for first.
GroupPlan silent(GroupPlan plan) {
  for (WorkerPlan& worker : plan.workers)
    for (StreamPlan& stream : worker.streams) stream.to = StreamPlan::To::Null;
  return plan;
}

/// Holds up the supervisor's thread, in the start of a group that then fails.
class Gate {
 public:
  Supervisor::Options options(std::chrono::milliseconds answerWait) {
    return {.preloads = {}, .pump = [this] { return pass(); }, .answerWait = answerWait};
  }
  /// To be followed by one more that's on its way: what's ordered by then is done in one go, before
  /// the thread hears anything else.
  void order(Harness& harness, GroupId id, const Witness& witness) {
    GroupPlan plan = silent(group(id, witness, {{"exit", "0"}}));
    plan.workers[0].streams[0] = {StreamPlan::To::Pipe, {}};  // no file to be opened first
    harness->startGroup(std::move(plan));
  }
  void awaitClosed() {
    CHECK(waitReadable(closed_, kLong));
    drainEvent(closed_);
  }
  void open() { signalEvent(open_); }

 private:
  /// Thread: supervisor.
  Result<std::shared_ptr<Pump>> pass() {
    signalEvent(closed_);
    (void)waitReadable(open_, kLong);
    drainEvent(open_);
    return Error{"pump", ECANCELED};
  }

  const Fd closed_ = *makeEventFd();
  const Fd open_ = *makeEventFd();
};

/// The next event of that group, or one of none.
template <typename T>
T nextOf(Harness& harness, GroupId id) {
  while (auto event = harness.nextEvent()) {
    if (event->group != id) continue;
    if (auto* what = std::get_if<T>(&event->what)) return std::move(*what);
    tap::fail(__FILE__, __LINE__, "another event came: " + std::to_string(event->what.index()));
    break;
  }
  return {};
}

/// Standbys that wait for their orders.
struct Parked {
  std::string cookie;
  std::vector<pid_t> pids;
};

Parked park(Harness& harness, GroupPlan plan) {
  const size_t count = plan.workers.size();
  const std::string cookie = plan.cookie;
  harness->startGroup(std::move(plan));
  const Started started = harness.next<Started>();
  awaitParked(harness, count);
  return {cookie, started.pids};
}

bool endsSoon(pid_t pid) {
  auto pidfd = openPidfd(pid);
  return !pidfd || waitReadable(*pidfd, kLong);
}

}  // namespace

TEST("standbys become the workers of a round, with its output, and are waited for") {
  for (const auto& variant : kVariants) {
    Harness harness(variant);
    TempDir folder;
    Witness witness(folder);
    const Parked waiting = park(harness, standbys(7, witness, {"obey", "obey"}));

    harness->takeOver(roundOf(7, witness, waiting.cookie, 2, {"exit-on-term"}),
                      orders(2, "exit-on-term"));

    const Started started = harness.next<Started>();
    CHECK(started.pids == waiting.pids);
    await(witness, "ready", 2);
    harness->stopGroup(7, gentle());
    CHECK(exitedWith(harness.next<Exited>(), 43));
    CHECK(exitedWith(harness.next<Exited>(), 43));
    CHECK_EQ(harness.next<Ended>().strays.size(), 0u);
    CHECK(witness.reader().ended());
  }
}

TEST("a standby is bound before its program starts") {
  cpu_set_t ours;
  CPU_ZERO(&ours);
  CHECK_EQ(::sched_getaffinity(0, sizeof ours, &ours), 0);
  uint32_t cpu = 0;
  while (!CPU_ISSET(cpu, &ours)) cpu++;
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  GroupPlan parked = standbys(1, witness, {"obey"});
  parked.workers[0].command.binding.cpus = std::vector<uint32_t>{cpu};
  const Parked waiting = park(harness, std::move(parked));

  harness->takeOver(roundOf(1, witness, waiting.cookie, 1, {"status"}), orders(1, "status"));

  (void)harness.next<Started>();
  std::string line;
  bool isBound = false;
  bool isAlone = false;
  while (!(line = witness.reader().line()).empty()) {
    isBound = isBound || line == "Cpus_allowed_list:\t" + std::to_string(cpu);
    isAlone = isAlone || line == "fds 0,1,2";
  }
  CHECK(isBound);
  CHECK(isAlone);
  CHECK(exitedWith(harness.next<Exited>(), 0));
  (void)harness.next<Ended>();
}

TEST("a standby that refuses, dies, or doesn't answer in time is replaced in its round") {
  for (const std::string kind : {"refuse", "die", "mute"}) {
    // So short only where it's to pass.
    Harness harness(Supervisor::Options{
        .guardian = REGROUP_GUARDIAN, .preloads = {}, .answerWait = kind == "mute" ? 1s : kLong});
    TempDir folder;
    Witness witness(folder);
    const Parked waiting = park(harness, standbys(1, witness, {kind, "obey"}));

    harness->takeOver(roundOf(1, witness, waiting.cookie, 2, {"block"}), orders(2, "block"));

    if (kind == "refuse") CHECK_EQ(typeOfMessage(harness.next<StandbySaid>().message), "refused");
    const Started started = harness.next<Started>();
    CHECK_EQ(started.pids.size(), 2u);
    CHECK(started.pids[0] != waiting.pids[0]);
    CHECK(started.pids[1] == waiting.pids[1] || kind == "mute");
    await(witness, "ready", 2);
    CHECK(endsSoon(waiting.pids[0]));
    harness->stopGroup(1, kKill);
    for (int i = 0; i < 2; i++) {
      const Exited exited = harness.next<Exited>();
      CHECK_EQ(exited.pid, started.pids[exited.index]);
      CHECK(signaledWith(exited, SIGKILL));
    }
    CHECK(harness.next<Ended>().stuck.empty());
    CHECK(witness.reader().ended());
  }
}

TEST("a standby whose order comes before it has parked takes it when it has") {
  // No time for those that have parked: one that hasn't gets its own.
  Harness harness(Supervisor::Options{.preloads = {}, .answerWait = 0ms});
  TempDir folder;
  Witness witness(folder);
  GroupPlan plan = standbys(1, witness, {"late", "obey", "late-refuse"});
  const std::string cookie = plan.cookie;
  harness->startGroup(std::move(plan));
  const std::vector<pid_t> pids = harness.next<Started>().pids;
  awaitParked(harness, 1);

  harness->takeOver(roundOf(1, witness, cookie, 3, {"block"}), orders(3, "block"), kLong);

  // One may have refused before the other parks.
  std::vector<std::string> said;
  for (int i = 0; i < 3; i++) said.emplace_back(typeOfMessage(harness.next<StandbySaid>().message));
  std::sort(said.begin(), said.end());
  CHECK(said == (std::vector<std::string>{"parked prepare", "parked prepare", "refused"}));
  const Started started = harness.next<Started>();
  CHECK(started.pids[0] == pids[0] && started.pids[1] == pids[1]);
  CHECK(started.pids[2] != pids[2]);
  await(witness, "ready", 3);
  harness->stopGroup(1, kKill);
  for (int i = 0; i < 3; i++) CHECK(signaledWith(harness.next<Exited>(), SIGKILL));
  (void)harness.next<Ended>();
  CHECK(witness.reader().ended());
}

TEST("a failure isn't told behind imports of others") {
  Harness harness(Supervisor::Options{.preloads = {}, .answerWait = kLong});
  TempDir folder;
  Witness witness(folder);
  GroupPlan plan = standbys(1, witness, {"obey", "never"});
  const std::string cookie = plan.cookie;
  harness->startGroup(std::move(plan));
  const std::vector<pid_t> pids = harness.next<Started>().pids;
  awaitParked(harness, 1);
  std::vector<std::string> told = orders(2, "exit");
  told[0] = sized("exit-on-term");

  harness->takeOver(roundOf(1, witness, cookie, 2, {"exit", "0"}), told, kLong);
  await(witness, "ready", 1);
  CHECK_EQ(::kill(pids[0], SIGTERM), 0);

  CHECK(harness.next<Started>().pids == pids);
  CHECK_EQ(harness.next<Exited>().pid, pids[0]);
  harness->stopGroup(1, kKill);
  CHECK(signaledWith(harness.next<Exited>(), SIGKILL));
  (void)harness.next<Ended>();
}

TEST("one that doesn't park in its time is replaced") {
  Harness harness(Supervisor::Options{.preloads = {}, .answerWait = kLong});
  TempDir folder;
  Witness witness(folder);
  GroupPlan plan = standbys(1, witness, {"never"});
  const std::string cookie = plan.cookie;
  harness->startGroup(std::move(plan));
  const std::vector<pid_t> pids = harness.next<Started>().pids;

  harness->takeOver(roundOf(1, witness, cookie, 1, {"exit", "0"}), orders(1, "exit"), 1ms);

  const Started started = harness.next<Started>();
  CHECK(started.pids[0] != pids[0]);
  CHECK(exitedWith(harness.next<Exited>(), 0));
  (void)harness.next<Ended>();
  CHECK(endsSoon(pids[0]));
}

TEST("an answer counts that's there when its time is over, or when its standby has ended") {
  for (const auto& variant : kVariants) {
    TempDir folder;
    Witness witness(folder);
    Gate gate;
    Supervisor::Options options = gate.options(1ms);
    options.disable = variant;
    Harness harness(std::move(options));
    const Parked waiting = park(harness, silent(standbys(1, witness, {"obey"})));
    gate.order(harness, 2, witness);
    gate.awaitClosed();
    harness->takeOver(silent(roundOf(1, witness, waiting.cookie, 1, {"exit", "0"})),
                      orders(1, "exit"));
    gate.order(harness, 3, witness);
    gate.open();
    gate.awaitClosed();

    CHECK(endsSoon(waiting.pids[0]));
    gate.open();

    CHECK(nextOf<Started>(harness, 1).pids == waiting.pids);
    CHECK_EQ(nextOf<Exited>(harness, 1).pid, waiting.pids[0]);
    (void)nextOf<Ended>(harness, 1);
  }
}

TEST("one that died while it waited is replaced, too") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  const Parked waiting = park(harness, standbys(1, witness, {"obey", "obey"}));
  (void)::kill(waiting.pids[1], SIGKILL);
  CHECK_EQ(harness.next<Exited>().index, 1u);

  harness->takeOver(roundOf(1, witness, waiting.cookie, 2, {"exit", "0"}), orders(2, "exit"));

  CHECK(harness.next<Started>().pids[1] != waiting.pids[1]);
  CHECK(exitedWith(harness.next<Exited>(), 0));
  CHECK(exitedWith(harness.next<Exited>(), 0));
  (void)harness.next<Ended>();
}

TEST("a replaced standby that SIGKILL doesn't end doesn't keep its round from ending") {
  TempDir folder;
  Witness witness(folder);
  Freezer freezer(folder);
  if (!freezer) return tap::skip("needs root and the freezer of cgroup v1");
  Harness harness(Supervisor::Options{.preloads = {}, .answerWait = 1s});
  const Parked waiting = park(harness, standbys(1, witness, {"mute"}));
  const pid_t stuck = waiting.pids[0];
  auto pidfd = openPidfd(stuck);
  REQUIRE(pidfd);
  REQUIRE(freezer.freeze(stuck));
  while (!freezer.frozen()) continue;

  harness->takeOver(roundOf(1, witness, waiting.cookie, 1, {"exit", "0"}), orders(1, "exit"));

  CHECK(harness.next<Started>().pids[0] != stuck);
  CHECK(exitedWith(harness.next<Exited>(), 0));
  CHECK(harness.next<Ended>().stuck.empty());
  CHECK(!waitReadable(*pidfd, 0ms));
  freezer.thaw();
  CHECK(waitReadable(*pidfd, kLong));
}

TEST("a standby that was given up while it waited is nobody's when it comes loose") {
  TempDir folder;
  Witness witness(folder);
  Freezer freezer(folder);
  if (!freezer) return tap::skip("needs root and the freezer of cgroup v1");
  Harness harness;
  harness->startGroup(standbys(1, witness, {"obey"}));
  const pid_t stuck = harness.next<Started>().pids[0];
  awaitParked(harness, 1);
  auto pidfd = openPidfd(stuck);
  REQUIRE(pidfd);
  REQUIRE(freezer.freeze(stuck));
  while (!freezer.frozen()) continue;
  harness->stopGroup(1, {SIGKILL, Target::Leader, 0ms, 20ms});
  CHECK_EQ(harness.next<Ended>().stuck.size(), 1u);

  freezer.thaw();

  CHECK(waitReadable(*pidfd, kLong));
  // Both ends of it, of the socket and of the process, are heard before these are.
  for (const GroupId id : {2, 3}) {
    harness->startGroup({id, makeCookie(), {}, 0, 0ms});
    (void)harness.next<Started>();
    (void)harness.next<Ended>();
  }
  CHECK(::kill(stuck, 0) < 0 && errno == ESRCH);
}

TEST("a stop doesn't wait for a standby's answer") {
  Harness harness(Supervisor::Options{.preloads = {}, .answerWait = 3600s});
  TempDir folder;
  Witness witness(folder);
  const Parked waiting = park(harness, silent(standbys(1, witness, {"mute", "obey"})));
  harness->takeOver(silent(roundOf(1, witness, waiting.cookie, 2, {"block"})), orders(2, "block"));

  harness->stopGroup(1, gentle());

  CHECK(harness.next<Started>().pids == waiting.pids);
  CHECK(signaledWith(harness.next<Exited>(), SIGTERM));
  CHECK(signaledWith(harness.next<Exited>(), SIGTERM));
  (void)harness.next<Ended>();
}

TEST("R-047 when the fence passes while a round's logs are being opened, none is left") {
  TempDir folder;
  Witness witness(folder);
  const std::string unread = folder.file("unread");
  REQUIRE_EQ(::mkfifo(unread.c_str(), 0600), 0);
  Harness harness;
  const Parked waiting = park(harness, standbys(1, witness, {"obey", "obey"}));
  GroupPlan round = roundOf(1, witness, waiting.cookie, 2, {"block"});
  round.workers[1].streams[0].sinks.file = unread;
  harness->takeOver(std::move(round), orders(2, "block"));
  // Behind it.
  harness->startGroup(silent(group(2, witness, {{"exit", "0"}})));
  (void)harness.next<Started>();
  CHECK(exitedWith(harness.next<Exited>(), 0));
  (void)harness.next<Ended>();
  auto fence = harness->fence();
  REQUIRE(fence);

  (*fence)->set(BootClock::now());

  (void)harness.next<Fenced>();
  CHECK_EQ(harness.next<StartFailed>().error.code, ECANCELED);
  for (const pid_t pid : waiting.pids) CHECK(endsSoon(pid));
  const Fd released(::open(unread.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

TEST("R-047 behind the fence no standby gets an order, and none is replaced") {
  // It passes before the orders, or before the answers are due.
  for (const bool isOrdered : {false, true}) {
    TempDir folder;
    Witness witness(folder);
    Gate gate;
    Harness harness(gate.options(isOrdered ? 1ms : kLong));
    const Parked waiting = park(harness, silent(standbys(1, witness, {"mute"})));
    const pid_t standby = waiting.pids[0];
    auto fence = harness->fence();
    REQUIRE(fence);
    gate.order(harness, 2, witness);
    gate.awaitClosed();
    if (!isOrdered) gate.order(harness, 3, witness);
    harness->takeOver(silent(roundOf(1, witness, waiting.cookie, 1, {"block"})),
                      orders(1, "block"));
    if (isOrdered) gate.order(harness, 3, witness);
    gate.open();
    gate.awaitClosed();
    const TimePoint due = monotonicNow() + 5ms;
    while (monotonicNow() < due) continue;

    (*fence)->set(BootClock::now());
    gate.open();

    // In this order, or it would be a start that has failed.
    while (auto event = harness.nextEvent()) {
      CHECK(event->group != 1);
      if (std::holds_alternative<Fenced>(event->what)) break;
    }
    const StartFailed failed = nextOf<StartFailed>(harness, 1);
    CHECK_EQ(failed.step, StartStep::Spawn);
    CHECK_EQ(failed.error.code, ECANCELED);
    CHECK(endsSoon(standby));
  }
}

TEST("standbys that are stopped, or unknown, can't be taken over") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  const Parked waiting = park(harness, standbys(1, witness, {"obey"}));

  harness->stopGroup(1, kKill);
  harness->takeOver(roundOf(1, witness, waiting.cookie, 1, {"block"}), orders(1, "block"));
  harness->takeOver(roundOf(2, witness, waiting.cookie, 1, {"block"}), orders(1, "block"));

  int refused = 0;
  bool hasEnded = false;
  while (refused < 2 || !hasEnded) {
    const auto event = harness.nextEvent();
    if (!event) break;
    CHECK(!std::holds_alternative<Started>(event->what));
    refused += std::holds_alternative<NotTaken>(event->what);
    hasEnded = hasEnded || std::holds_alternative<Ended>(event->what);
  }
  CHECK_EQ(refused, 2);
}

TEST("where a round's log can't be opened, none of its standbys is left") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  const Parked waiting = park(harness, standbys(1, witness, {"obey", "obey"}));
  GroupPlan round = roundOf(1, witness, waiting.cookie, 2, {"block"});
  round.workers[1].streams[0].sinks.file = "/nonexistent/out.log";

  harness->takeOver(std::move(round), orders(2, "block"));

  const StartFailed failed = harness.next<StartFailed>();
  CHECK_EQ(failed.index, 1u);
  CHECK_EQ(failed.step, StartStep::Output);
  for (const pid_t pid : waiting.pids) CHECK(endsSoon(pid));
}

TEST("where a standby can't be replaced, none is left") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  const Parked waiting = park(harness, standbys(1, witness, {"die", "obey"}));
  GroupPlan round = roundOf(1, witness, waiting.cookie, 2, {"block"});
  round.workers[0].command.file = "/nonexistent/program";

  harness->takeOver(std::move(round), orders(2, "block"));

  const StartFailed failed = harness.next<StartFailed>();
  CHECK_EQ(failed.index, 0u);
  CHECK_EQ(failed.step, StartStep::Exec);
  for (const pid_t pid : waiting.pids) CHECK(endsSoon(pid));
}

TEST("what a standby was refused while it waited isn't counted as its round's") {
  if (::access(findCgroupPlaces().pids.c_str(), W_OK) < 0)
    return tap::skip("no cgroup with limits is delegated to us");
  for (const bool isTaken : {false, true}) {
    Harness harness;
    TempDir folder;
    Witness witness(folder);
    GroupPlan parked = standbys(1, witness, {"fork"});
    parked.workers[0].usage.pidsMax = 1;
    const Parked waiting = park(harness, std::move(parked));
    const pid_t pid = waiting.pids[0];
    if (isTaken) {
      harness->takeOver(roundOf(1, witness, waiting.cookie, 1, {"block"}), orders(1, "block"));
      CHECK_EQ(harness.next<Started>().pids[0], pid);
      await(witness, "ready");
    }

    (void)::kill(pid, SIGKILL);

    const Exited exited = harness.next<Exited>();
    REQUIRE(exited.usage);
    CHECK_EQ(exited.usage->pidsRefused, isTaken ? uint64_t{0} : uint64_t{1});
    (void)harness.next<Ended>();
  }
}

TEST("a standby that closes its socket is none any more, and ends") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  harness->startGroup(standbys(1, witness, {"close"}));
  (void)harness.next<Started>();
  awaitParked(harness, 1);

  CHECK(signaledWith(harness.next<Exited>(), SIGKILL));
  (void)harness.next<Ended>();
}

TEST("a standby that says more than that it waits ends") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  harness->startGroup(standbys(1, witness, {"chatter"}));
  (void)harness.next<Started>();
  awaitParked(harness, 1);

  CHECK(signaledWith(harness.next<Exited>(), SIGKILL));
  (void)harness.next<Ended>();
}

TEST("an order may be larger than what a socket holds, and a round's output go through pipes") {
  constexpr size_t kBytes = 4 * 1024 * 1024;
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  const auto piped = [&](GroupPlan plan) {
    for (StreamPlan& stream : plan.workers[0].streams) stream.to = StreamPlan::To::Pipe;
    plan.tailBytes = 1000;
    return plan;
  };
  const Parked waiting = park(harness, piped(standbys(1, witness, {"obey"})));

  harness->takeOver(piped(roundOf(1, witness, waiting.cookie, 1, {"exit", "1"})),
                    orders(1, std::string(kBytes, 'x')));

  (void)harness.next<Started>();
  CHECK(exitedWith(harness.next<Exited>(), 0));
  const Ended ended = harness.next<Ended>();
  CHECK_EQ(ended.tails.size(), 2u);
  if (ended.tails.size() == 2)
    CHECK_EQ(ended.tails[0].bytes, "order " + std::to_string(kBytes) + "\n");
}

TEST("standbys end with an agent that is killed") {
  for (const std::vector<std::string>& disable :
       {std::vector<std::string>{}, std::vector<std::string>{"cgroup"}}) {
    TempDir folder;
    Witness witness(folder);
    const pid_t parent = ::getpid();
    const pid_t agent = ::fork();
    if (agent == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      Harness harness(disable, REGROUP_GUARDIAN);
      harness->startGroup(standbys(7, witness, {"obey"}));
      const Started started = harness.next<Started>();
      awaitParked(harness, 1);
      const std::string line = "parked " + std::to_string(started.pids[0]) + "\n";
      {
        const Fd out(::open(witness.path().c_str(), O_WRONLY | O_CLOEXEC));
        (void)!::write(out.get(), line.data(), line.size());
      }
      for (;;) ::pause();
    }
    const pid_t standby = await(witness, "parked");

    killAndReap(agent);

    CHECK(endsSoon(standby));
  }
}

TEST("what isn't a message ends a standby") {
  CHECK_EQ(typeOfMessage(""), "");
  CHECK_EQ(typeOfMessage(sized("type") + sized("parked") + "rest"), "parked");
  CHECK_EQ(typeOfMessage(sized("kind") + sized("parked")), "");
  CHECK_EQ(typeOfMessage(sized("type") + std::string("\xff\xff\xff\xff", 4)), "");
}

TAP_MAIN
