#include <signal.h>

#include "core/process/early_status.h"
#include "core/process/early_watch.h"
#include "test/native/group_harness.h"

using namespace regroup;
using namespace support;

namespace {

/// A worker with little memory may be gone before its notice is looked at, and a busy machine makes
/// every memory small: then it's tried again.
constexpr int kAttempts = 5;

const std::vector<std::vector<std::string>> kWays = {{}, {"early-waitv"}, {"pidfd"}};

struct EarlyHarness : Harness {
  explicit EarlyHarness(std::vector<std::string> disable = {})
      : Harness(std::move(disable), {}, REGROUP_EARLY_LIBRARY) {}
};

GroupPlan early(GroupId id, const Witness& witness, std::vector<std::vector<std::string>> workers) {
  GroupPlan plan = group(id, witness, std::move(workers));
  for (WorkerPlan& worker : plan.workers) worker.command.file = REGROUP_EARLY_FIXTURE;
  return plan;
}

struct Told {
  std::optional<Dying> dying;
  Exited exited;
};

/// The events of a group with one worker, all of them.
Told runOne(Harness& harness, GroupPlan plan) {
  harness->startGroup(std::move(plan));
  Told told;
  const Started started = harness.next<Started>();
  auto event = harness.nextEvent();
  if (!event) return told;
  if (auto* dying = std::get_if<Dying>(&event->what)) {
    CHECK_EQ(dying->pid, started.pids[0]);
    told.dying = *dying;
    told.exited = harness.next<Exited>();
  } else if (auto* exited = std::get_if<Exited>(&event->what)) {
    told.exited = *exited;
  } else {
    CHECK(false);
  }
  (void)harness.next<Ended>();
  return told;
}

void checkSame(const Told& told) {
  CHECK(told.dying->status.how == told.exited.status.how);
  CHECK_EQ(told.dying->status.code, told.exited.status.code);
  CHECK_EQ(told.dying->status.coreDumped, told.exited.status.coreDumped);
}

/// Whatever the way of waiting, such an end is noticed before it's over, and its status is right.
void checkNoticed(const std::vector<std::string>& arguments) {
  for (const auto& way : kWays) {
    EarlyHarness harness(way);
    TempDir folder;
    bool noticed = false;
    for (GroupId id = 0; id < kAttempts && !noticed; id++) {
      Witness witness(folder);
      const Told told = runOne(harness, early(id, witness, {arguments}));
      noticed = told.dying.has_value();
      if (noticed) checkSame(told);
    }
    CHECK(noticed);
    if (!noticed) tap::fail(__FILE__, __LINE__, nameOf(way));
  }
}

/// Such a worker isn't dying when its word is marked, and ends with 0.
void checkNotNoticed(const std::vector<std::string>& arguments) {
  for (const auto& way : kWays) {
    EarlyHarness harness(way);
    TempDir folder;
    Witness witness(folder);
    const Told told = runOne(harness, early(1, witness, {arguments}));
    CHECK(!told.dying);
    CHECK(exitedWith(told.exited, 0));
  }
}

std::string linesOf(GroupPlan plan, Witness& witness) {
  EarlyHarness harness;
  CHECK(!runOne(harness, std::move(plan)).dying);
  return witness.reader().rest();
}

constexpr char kStat[] =
    "42 (a) b (c) Z 7 0 0 0 0 4212740 0 0 0 0 0 0 0 0 0 0 3 0 0 0 0 0 0 0 0 0 0 256 0 0 0 0 0 "
    "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 10496\n";

}  // namespace

TEST("a thread's stat is read past a name with spaces and parentheses") {
  const auto stat = parseTaskStat(kStat);

  CHECK(stat.has_value());
  CHECK_EQ(stat->parent, 7);
  CHECK(stat->exiting);
  CHECK_EQ(stat->threads, 3);
  CHECK_EQ(stat->killPending, true);
  CHECK_EQ(stat->waitStatus, 10496);
}

TEST("a stat that's cut off or garbled tells nothing") {
  const std::string whole = kStat;
  for (size_t length = 0; length + 7 < whole.size(); length++)
    CHECK(!parseTaskStat(std::string_view(whole).substr(0, length)));
  CHECK(!parseTaskStat("1 (x) R a b c d e f"));
  CHECK(!parseTaskStat(") "));
}

TEST("pain 17: _exit is noticed while the memory is being freed") {
  checkNoticed({"exit", "41"});
}
TEST("_exit with threads running is noticed") {
  checkNoticed({"threads", "41"});
}
TEST("another thread's exit of the process is noticed") {
  checkNoticed({"thread-exits", "41"});
}
TEST("SIGSEGV is noticed") {
  checkNoticed({"die", "11"});
}
TEST("SIGKILL is noticed") {
  checkNoticed({"die", "9"});
}

TEST("a core dump comes before the notice, which knows of it") {
  EarlyHarness harness;
  TempDir folder;
  Witness witness(folder);
  GroupPlan plan = early(1, witness, {{"dumps-core"}});
  plan.workers[0].command.cwd = folder.path();
  const Told told = runOne(harness, std::move(plan));
  CHECK(signaledWith(told.exited, SIGABRT));
  if (told.dying) checkSame(told);
}

TEST("a good end isn't told twice") {
  checkNotNoticed({"exit", "0"});
}
TEST("an exec is no death, though the kernel marks it alike") {
  checkNotNoticed({"execs", "/bin/sleep", "0.1"});
}
TEST("the end of a forked child isn't its parent's") {
  checkNotNoticed({"forks"});
}
TEST("a first thread that ends alone is no death, whatever its status") {
  checkNotNoticed({"first-thread-ends", "5"});
}

TEST("a static program has no notice, and loses nothing but time") {
  for (const auto& way : kWays) {
    EarlyHarness harness(way);
    TempDir folder;
    Witness witness(folder);
    const Told told = runOne(harness, group(1, witness, {{"exit", "3"}}));
    CHECK(!told.dying);
    CHECK(exitedWith(told.exited, 3));
  }
}

TEST(
    "neither the program nor its children see how the notice came to be, and no descriptor is "
    "left") {
  TempDir folder;
  Witness witness(folder);
  CHECK_EQ(linesOf(early(1, witness, {{"tell"}}), witness),
           "environment clean\npreload none\ndescriptor 3 closed\npage mapped\n");

  Witness child(folder, "child");
  CHECK_EQ(linesOf(early(1, child, {{"spawns"}}), child),
           "environment clean\npreload none\ndescriptor 3 closed\npage not mapped\n");
}

TEST("what the user preloads stays, and comes first") {
  TempDir folder;
  Witness witness(folder);
  GroupPlan plan = early(1, witness, {{"tell"}});
  // A library that's loaded anyway, so that nothing complains.
  plan.workers[0].command.env.push_back("LD_PRELOAD=libc.so.6");

  CHECK_EQ(linesOf(std::move(plan), witness),
           "environment not clean\npreload libc.so.6\ndescriptor 3 closed\npage mapped\n");
}

TEST("a wrapper passes it on by exec") {
  TempDir folder;
  Witness witness(folder);
  GroupPlan plan = early(1, witness, {{"-c", "exec \"$0\" tell", REGROUP_EARLY_FIXTURE}});
  plan.workers[0].command.file = "/bin/sh";

  CHECK_EQ(linesOf(std::move(plan), witness),
           "environment clean\npreload none\ndescriptor 3 closed\npage mapped\n");
}

TEST("env -i takes it away, and nothing else") {
  TempDir folder;
  Witness witness(folder);
  GroupPlan plan = early(1, witness, {{"-i", REGROUP_EARLY_FIXTURE, "tell"}});
  plan.workers[0].command.file = "/usr/bin/env";

  CHECK_EQ(linesOf(std::move(plan), witness),
           "environment clean\npreload none\ndescriptor 3 closed\npage not mapped\n");
}

TEST("a worker that scribbles over its page costs itself its notice, and nobody else") {
  for (const auto& way : kWays) {
    EarlyHarness harness(way);
    TempDir folder;
    bool noticed = false;
    for (GroupId id = 0; id < kAttempts && !noticed; id++) {
      Witness witness(folder);
      harness->startGroup(early(id, witness, {{"scribbles", "3"}, {"exit", "4"}}));
      (void)harness.next<Started>();
      for (int exits = 0; exits < 2;) {
        auto event = harness.nextEvent();
        if (!event) return;
        if (auto* dying = std::get_if<Dying>(&event->what)) {
          // A mark that it made by itself may come true while it's ending.
          if (dying->index == 1) noticed = true;
          CHECK_EQ(dying->status.code, dying->index == 1 ? 4 : 3);
        } else if (auto* exited = std::get_if<Exited>(&event->what)) {
          CHECK(exitedWith(*exited, exited->index == 1 ? 4 : 3));
          exits++;
        } else {
          CHECK(false);
        }
      }
      (void)harness.next<Ended>();
    }
    CHECK(noticed);
  }
}

TEST("a watch that nobody ever marks ends at once, and leaves no descriptor") {
  for (const bool many : {true, false}) {
    const size_t before = openDescriptors();
    {
      auto watch = EarlyWatch::create(300);
      CHECK(static_cast<bool>(watch));
      CHECK(static_cast<bool>((*watch)->start(many, [](size_t, TimePoint) {})));
    }
    CHECK_EQ(openDescriptors(), before);
  }
}

TAP_MAIN
