#include "core/cgroup/cgroup.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "core/cgroup/places.h"
#include "core/cgroup/worker_cgroups.h"
#include "test/native/group_harness.h"

using namespace regroup;
using namespace support;

namespace {

constexpr char kSelf[] =
    "9:name=systemd:/\n4:memory:/job/7\n2:cpu,cpuacct:/job\n1:freezer:/\n0::/job/7\n";

std::vector<std::string> ourPlaces() {
  const CgroupPlaces places = findCgroupPlaces();
  std::vector<std::string> found;
  for (const std::string& place : {places.unified, places.freezer}) {
    if (!place.empty() && ::access(place.c_str(), W_OK) == 0) found.push_back(place);
  }
  return found;
}

/// Whether a group's cgroup is there, in any hierarchy.
bool isThere(const std::string& cookie) {
  for (const std::string& place : ourPlaces()) {
    if (::access((place + "/regroup-" + cookie).c_str(), F_OK) == 0) return true;
  }
  return false;
}

/// As if it were an hour old.
void age(const std::string& path) {
  const timespec then{::time(nullptr) - 3600, 0};
  const timespec times[] = {then, then};
  if (::utimensat(AT_FDCWD, path.c_str(), times, 0) < 0) tap::fail(__FILE__, __LINE__, path);
}

std::string makeOldCgroup(const std::string& place, const std::string& name) {
  const std::string path = place + "/" + name;
  if (::mkdir(path.c_str(), 0755) < 0) tap::fail(__FILE__, __LINE__, path);
  age(path);
  return path;
}

const std::vector<std::vector<std::string>> kWays = {
    {}, {"cgroup-kill"}, {"clone-into-cgroup"}, {"clone3"}, {"pidfd", "clone3", "clone-pidfd"}};

}  // namespace

TEST("our cgroup is found in each hierarchy, wherever it's mounted") {
  const CgroupPlaces places = parseCgroupPlaces(
      "31 30 0:28 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
      "34 30 0:31 / /mem\\040ory rw - cgroup cgroup rw,memory\n"
      "40 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
      kSelf);

  CHECK_EQ(places.unified, std::string("/sys/fs/cgroup/unified/job/7"));
  CHECK_EQ(places.memory, std::string("/mem ory/job/7"));
  CHECK_EQ(places.cpu, std::string("/sys/fs/cgroup/cpu/job"));
  CHECK_EQ(places.freezer, std::string());
  CHECK_EQ(places.pids, std::string());
}

TEST("a mount that shows a part of the hierarchy is a place only if we're in that part") {
  const CgroupPlaces inside =
      parseCgroupPlaces("40 30 0:37 /job /c rw - cgroup2 cgroup2 rw\n", kSelf);
  const CgroupPlaces outside =
      parseCgroupPlaces("40 30 0:37 /jo /c rw - cgroup2 cgroup2 rw\n", kSelf);
  const CgroupPlaces hidden =
      parseCgroupPlaces("40 30 0:37 / /c rw - cgroup2 cgroup2 rw\n", "0::/../other\n");

  CHECK_EQ(inside.unified, std::string("/c/7"));
  CHECK_EQ(outside.unified, std::string());
  CHECK_EQ(hidden.unified, std::string());
}

TEST("pain 1: a daemon with neither session nor environment of its worker ends with the group") {
  if (ourPlaces().empty()) return tap::skip("no cgroup is delegated to us");
  for (const auto& disabled : kWays) {
    TempDir folder;
    Witness witness(folder);
    Harness harness(disabled);
    GroupPlan plan = group(7, witness, {{"bare-daemon", "3"}});
    const std::string cookie = plan.cookie;

    harness->startGroup(std::move(plan));

    CHECK_EQ(harness.next<Started>().pids.size(), size_t{1});
    CHECK(exitedWith(harness.next<Exited>(), 3));
    CHECK_EQ(harness.next<Ended>().strays.size(), size_t{1});
    CHECK(witness.reader().ended());
    harness->close();
    CHECK(!isThere(cookie));
  }
}

TEST("pain 1: it ends with an agent that is killed, too, and its cgroup is removed") {
  if (ourPlaces().empty()) return tap::skip("no cgroup is delegated to us");
  for (const auto& disabled : kWays) {
    TempDir folder;
    Witness witness(folder);
    GroupPlan plan = group(7, witness, {{"bare-daemon", "0"}, {"block"}});
    const std::string cookie = plan.cookie;
    const pid_t parent = ::getpid();
    const pid_t agent = ::fork();
    if (agent == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      Harness harness(disabled, REGROUP_GUARDIAN);
      harness->startGroup(std::move(plan));
      for (;;) ::pause();
    }
    for (int i = 0; i < 2; i++) REQUIRE(!witness.reader().line().empty());
    CHECK(isThere(cookie));

    (void)::kill(agent, SIGKILL);
    (void)::waitpid(agent, nullptr, 0);

    CHECK(witness.reader().ended());
    // The guardian removes it when all are gone, and nothing tells of that but looking. Bounded.
    for (int i = 0; i < 10'000 && isThere(cookie); i++) ::usleep(1000);
    CHECK(!isThere(cookie));
  }
}

TEST("F-F18 an empty cgroup whose agent is gone is removed, and none that somebody lives for") {
  if (ourPlaces().empty()) return tap::skip("no cgroup is delegated to us");
  for (const std::string& place : ourPlaces()) {
    // A place of the test's own: nobody else's may be stale just now.
    const std::string own = makeOldCgroup(place, "test-" + std::to_string(::getpid()));
    const auto nameOfGroup = [](char letter) { return "regroup-" + std::string(24, letter); };
    const std::string stale = makeOldCgroup(own, nameOfGroup('s'));
    (void)makeOldCgroup(stale, "0");  // as for a worker with limits
    age(stale);
    const std::string marked = makeOldCgroup(own, nameOfGroup('m'));
    const std::string inhabited = makeOldCgroup(own, nameOfGroup('i'));
    const std::string young = makeOldCgroup(own, nameOfGroup('y'));
    REQUIRE(::utimensat(AT_FDCWD, young.c_str(), nullptr, 0) == 0);
    const std::string strange = makeOldCgroup(own, "regroup-of-somebody");
    const pid_t inhabitant = ::fork();
    if (inhabitant == 0) {
      for (;;) ::pause();
    }
    // Afterwards: a fork would share the mark.
    auto mark = openFile(marked.c_str(), O_RDONLY | O_DIRECTORY);
    markAsOurs(*mark);
    CHECK(bool(writeControl(inhabited + "/cgroup.procs", std::to_string(inhabitant))));
    const auto isThere = [](const std::string& path) { return ::access(path.c_str(), F_OK) == 0; };

    removeStaleCgroups(own);

    CHECK(!isThere(stale));
    for (const std::string& path : {marked, inhabited, young, strange}) CHECK(isThere(path));
    mark->reset();
    removeStaleCgroups(own);
    CHECK(!isThere(marked));
    (void)::kill(inhabitant, SIGKILL);
    (void)::waitpid(inhabitant, nullptr, 0);
    // The kernel may take a moment, and nothing tells of that but trying. Bounded.
    const auto until = monotonicNow() + kLong;
    while (!removeCgroup(own) && monotonicNow() < until) ::usleep(10'000);
    CHECK(!isThere(own));
  }
}

TEST("counters of a cgroup are read from lines of a key and a number") {
  const std::string_view events = "low 0\noom 12\noom_kill 3\noom_group_kill 4\nlast 5";

  CHECK_EQ(countOf(events, "oom"), std::optional<uint64_t>(12));
  CHECK_EQ(countOf(events, "oom_kill"), std::optional<uint64_t>(3));
  CHECK_EQ(countOf(events, "last"), std::optional<uint64_t>(5));
  CHECK_EQ(countOf(events, "kill"), std::optional<uint64_t>());
  CHECK_EQ(countOf("max max\n", "max"), std::optional<uint64_t>());
  CHECK_EQ(countOf("", "max"), std::optional<uint64_t>());
  CHECK_EQ(numberIn("4096\n"), std::optional<uint64_t>(4096));
  CHECK_EQ(numberIn("max\n"), std::optional<uint64_t>());
}

TEST("memory pressure is the share of the last ten seconds in which some waited") {
  const auto percent = [](std::string_view text) {
    const auto pressure = pressureOf(text);
    return pressure ? static_cast<int>(*pressure * 100 + 0.5) : -1;
  };

  CHECK_EQ(percent("some avg10=12.34 avg60=1.00 avg300=0.00 total=9\nfull avg10=1.00 …\n"), 1234);
  CHECK_EQ(percent("some avg10=100.00 avg60=1.00"), 10000);
  CHECK_EQ(percent("some avg10=7"), 700);
  CHECK_EQ(percent("full avg10=1.00"), -1);
  CHECK_EQ(percent(""), -1);
}

TEST("limits take the hierarchies that have their controllers, version 1 before 2") {
  CgroupPlaces places;
  places.unified = "/u/a";
  places.memory = "/m/a";
  places.pids = "/m/a";
  const auto both = WorkerCgroups::find(places, "x", kMemory | kPids | kCpu);
  const auto none = WorkerCgroups::find({}, "x", kPids);

  auto* found = std::get_if<WorkerCgroups>(&both);
  REQUIRE(found != nullptr);
  CHECK_EQ(found->unified(), kCpu);
  CHECK_EQ(found->folders(), std::vector<std::string>{"/m/a/regroup-x"});
  auto* refusal = std::get_if<UsageRefusal>(&none);
  REQUIRE(refusal != nullptr);
  CHECK_EQ(std::string(refusal->error.op), std::string("pids"));
}

TEST("a worker with limits runs in cgroups of its own, and they go with the group") {
  if (::access(findCgroupPlaces().pids.c_str(), W_OK) < 0)
    return tap::skip("no cgroup with limits is delegated to us");
  for (const auto& disabled : kWays) {
    TempDir folder;
    Witness witness(folder);
    Harness harness(disabled);
    GroupPlan plan = group(7, witness, {{"block"}, {"block"}});
    plan.workers[0].usage.pidsMax = 10;
    plan.workers[1].usage = {
        .memoryHigh = {}, .memoryMax = 1 << 30, .pidsMax = {}, .cpuQuotaUs = {}};
    const std::string own = "/regroup-" + plan.cookie + "/worker-";

    harness->startGroup(std::move(plan));

    const auto pids = harness.next<Started>().pids;
    REQUIRE(pids.size() == size_t{2});
    std::vector<std::string> folders;
    for (size_t i = 0; i < 2; i++) {
      auto text = readFile(("/proc/" + std::to_string(pids[i]) + "/cgroup").c_str(), 4096);
      CHECK(text && text->find(own + std::to_string(i)) != std::string::npos);
    }
    CHECK_EQ(::access((findCgroupPlaces().pids + own + "0").c_str(), F_OK), 0);
    harness->stopGroup(7, {SIGKILL, Target::Group, 0ms, 5s});
    for (int i = 0; i < 2; i++) CHECK(harness.next<Exited>().usage.has_value());
    (void)harness.next<Ended>();
    harness->close();
    CHECK(::access((findCgroupPlaces().pids + own + "0").c_str(), F_OK) < 0);
    CHECK(::access((findCgroupPlaces().memory + own + "1").c_str(), F_OK) < 0);
  }
}

TEST("a limit that can't be had is no start, and nothing is left") {
  for (const std::vector<std::string>& disabled : {std::vector<std::string>{"cgroup"}, {}}) {
    TempDir folder;
    Witness witness(folder);
    Harness harness(disabled);
    GroupPlan plan = group(7, witness, {{"block"}, {"block"}});
    const std::string cookie = plan.cookie;
    // No kernel takes so short a quota.
    plan.workers[1].usage.cpuQuotaUs = 1;

    harness->startGroup(std::move(plan));

    const auto failed = harness.next<StartFailed>();
    CHECK_EQ(failed.step, StartStep::Cgroup);
    harness->close();
    CHECK(!isThere(cookie));
    CHECK(::access((findCgroupPlaces().cpu + "/regroup-" + cookie).c_str(), F_OK) < 0);
  }
}

TEST("with cgroup disabled none is made") {
  TempDir folder;
  Witness witness(folder);
  Harness harness({"cgroup"});
  GroupPlan plan = group(7, witness, {{"block"}});
  const std::string cookie = plan.cookie;
  harness->startGroup(std::move(plan));
  (void)harness.next<Started>();

  CHECK(!isThere(cookie));

  harness->stopGroup(7, kKill);
  (void)harness.next<Exited>();
  (void)harness.next<Ended>();
}

TEST("each round's cgroup is its own, so that workers start after a kill") {
  TempDir folder;
  Harness harness;
  for (GroupId id = 1; id <= 3; id++) {
    Witness witness(folder, "round-" + std::to_string(id));
    harness->startGroup(group(id, witness, {{"bare-daemon", "1"}}));
    CHECK_EQ(harness.next<Started>().pids.size(), size_t{1});
    CHECK(exitedWith(harness.next<Exited>(), 1));
    (void)harness.next<Ended>();
  }
}

TAP_MAIN
