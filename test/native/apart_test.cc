#include "core/base/apart.h"

#include <atomic>

#include "core/base/own_proc.h"
#include "core/base/proc.h"
#include "core/base/thread.h"
#include "test/native/dead_disk.h"
#include "test/native/tap.h"

using namespace regroup;
using namespace support;

namespace {

constexpr VisitLimits kPatient{kLong, kLong};
/// Long enough for whoever doesn't hang, on a busy machine as well.
constexpr VisitLimits kHasty{std::chrono::milliseconds(1000), kLong};

/// A visit that comes back when it's told to.
struct Gate {
  Gate() : open(*makeEventFd()) {}
  void wait() const { (void)waitReadable(open, kLong); }
  void let() const { (void)!::write(open.get(), "\1\0\0\0\0\0\0\0", 8); }
  Fd open;
};

}  // namespace

TEST("what each visit gives comes back, by process") {
  const auto answers = askApart<int>(
      {3, 1, 2}, [](pid_t pid) { return 10 * pid; }, kPatient);

  CHECK(answers == (std::map<pid_t, int>{{1, 10}, {2, 20}, {3, 30}}));
}

TEST("nobody to visit takes no thread, and no time takes nobody") {
  CHECK(askApart<int>(
            {}, [](pid_t) { return 1; }, kPatient)
            .empty());
  CHECK(askApart<int>({1}, [](pid_t) { return 1; }, {kLong, std::chrono::milliseconds(0)}).empty());
}

TEST("F-N01 a visit that hangs is left behind, and the others are made all the same") {
  auto gate = std::make_shared<Gate>();
  const auto visit = [gate](pid_t pid) {
    if (pid == 7) gate->wait();
    return pid;
  };

  const auto answers = askApart<pid_t>({6, 7, 8}, visit, kHasty);

  CHECK(answers == (std::map<pid_t, pid_t>{{6, 6}, {8, 8}}));
  // While it hangs nobody tries again; it would cost another thread.
  auto tried = std::make_shared<std::atomic<bool>>(false);
  const auto later = askApart<pid_t>(
      {7, 8},
      [tried](pid_t pid) {
        if (pid == 7) *tried = true;
        return pid;
      },
      kPatient);
  CHECK(later == (std::map<pid_t, pid_t>{{8, 8}}));
  CHECK(!*tried);

  gate->let();

  // It has come back at some time: from then on it's visited again.
  while (askApart<pid_t>({7}, visit, kPatient).empty()) continue;
}

TEST("all visits together take no longer than they may") {
  auto gate = std::make_shared<Gate>();
  const auto answers = askApart<int>({21, 22, 23},
                                     [gate](pid_t pid) {
                                       if (pid == 21) gate->wait();
                                       return 1;
                                     },
                                     {kLong, std::chrono::milliseconds(20)});

  CHECK(answers.empty());
  gate->let();
}

TEST("F-N01 a process that hangs in execve is known as such without waiting for it") {
  TempDir folder;
  DeadDisk disk(folder, "flush");
  if (!disk) return tap::skip(DeadDisk::kNeeds);
  const pid_t sick = disk.sickProcess();
  REQUIRE(sick > 0);

  const auto status = statusOf(sick);
  const auto entry = entryOf(sick);
  const auto again = entryOf(sick);
  const auto environments = askApart<bool>(
      {sick, ::getpid()},
      [](pid_t pid) { return static_cast<bool>(readFile(procPath(pid, "environ").c_str(), 1024)); },
      kHasty);

  REQUIRE(status);
  CHECK(!isDead(status));
  CHECK_EQ(status->parent, ::getpid());
  CHECK_EQ(status->threads, 1);
  CHECK(!commandOf(sick).empty());
  REQUIRE(entry && again);
  CHECK(entry->isSame(*again));
  CHECK_EQ(threadsOf(sick).size(), 1u);
  CHECK(environments == (std::map<pid_t, bool>{{::getpid(), true}}));
}

TEST("a status is read by its lines, whatever the process's name is") {
  const auto status = parseStatus(
      "Name:\tState: X\nUmask:\t0022\nState:\tZ (zombie)\nTgid:\t7\nPPid:\t42\nThreads:\t3\n"
      "voluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t2\n");

  REQUIRE(status);
  CHECK_EQ(status->state, 'Z');
  CHECK_EQ(status->parent, 42);
  CHECK_EQ(status->threads, 3);
  CHECK_EQ(status->switches, 7u);
  CHECK(!isDead(status));
  CHECK(isDead(parseStatus("State:\tZ (zombie)\nThreads:\t1\n")));
  CHECK(isDead(parseStatus("")));
  CHECK(!statusOf(0));
}

TEST("/proc is ours where it has our own number") {
  CHECK(procIsOurs());
}

TAP_MAIN
