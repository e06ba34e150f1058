#include "core/cgroup/cgroup.h"

#include <sys/prctl.h>
#include <sys/wait.h>

#include "core/cgroup/places.h"
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
    CHECK_EQ(harness.next<Ended>().strays, size_t{1});
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
