#include <dirent.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "test/native/group_harness.h"

using namespace regroup;
using namespace support;

namespace {

/// A debugger that attaches to a process, doesn't wait for it until it's told to, and then ends.
class Tracer {
 public:
  explicit Tracer(pid_t tracee) {
    auto orders = makePipe();
    auto answers = makePipe();
    orders_ = std::move(orders->write);
    answers_ = std::move(answers->read);
    pid_ = ::fork();
    if (pid_ == 0) {
      orders_.reset();
      char byte = ::ptrace(PTRACE_SEIZE, tracee, nullptr, nullptr) == 0 ? '+' : '-';
      (void)!::write(answers->write.get(), &byte, 1);
      if (::read(orders->read.get(), &byte, 1) == 1) {
        byte = ::waitpid(tracee, nullptr, __WALL) == tracee ? '+' : '-';
        (void)!::write(answers->write.get(), &byte, 1);
      }
      ::_exit(0);
    }
  }
  ~Tracer() { die(); }

  /// False where nobody may trace.
  bool attached() { return answer() == '+'; }
  bool wait() { return ::write(orders_.get(), "w", 1) == 1 && answer() == '+'; }
  void die() {
    orders_.reset();
    if (pid_ > 0) (void)::waitpid(pid_, nullptr, __WALL);
    pid_ = -1;
  }

 private:
  char answer() {
    char byte = '?';
    return waitReadable(answers_, kLong) && ::read(answers_.get(), &byte, 1) == 1 ? byte : '?';
  }

  Fd orders_;
  Fd answers_;
  pid_t pid_ = -1;
};

/// The processor time that the supervisor's thread has had.
class SupervisorTime {
 public:
  SupervisorTime() {
    const std::string tasks = "/proc/self/task/";
    DIR* folder = ::opendir(tasks.c_str());
    while (const dirent* entry = ::readdir(folder)) {
      auto name = readFile((tasks + entry->d_name + "/comm").c_str(), 64);
      // CLOCK_THREAD_CPUTIME_ID of another thread, as the kernel spells it.
      if (name && *name == "regroup-watch\n")
        clock_ = static_cast<clockid_t>(~static_cast<unsigned>(::atoi(entry->d_name)) << 3 | 6);
    }
    ::closedir(folder);
  }

  std::chrono::nanoseconds now() const {
    timespec time{};
    if (::clock_gettime(clock_, &time) < 0) tap::fail(__FILE__, __LINE__, "no such clock");
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  }

 private:
  clockid_t clock_ = CLOCK_REALTIME;
};

/// Returns once the supervisor has had `span` to do what's due.
void pass(Harness& harness, const Witness& witness, std::chrono::milliseconds span) {
  static GroupId id = 100;
  harness->startGroup(group(++id, witness, {{"block"}}));
  (void)harness.next<Started>();
  harness->stopGroup(id, {SIGCONT, Target::Leader, span, 5s});
  CHECK(signaledWith(harness.next<Exited>(), SIGKILL));
  (void)harness.next<Ended>();
}

bool gone(pid_t pid) {
  return ::kill(pid, 0) < 0 && errno == ESRCH;
}

/// A group of one worker, which is traced and then killed: a zombie that's the tracer's.
struct Traced {
  explicit Traced(std::vector<std::string> disable = {}) : harness(std::move(disable)) {
    harness->startGroup(group(1, witness, {{"traceable"}}));
    pid = harness.next<Started>().pids[0];
    await(witness, "ready");
    tracer.emplace(pid);
    if (!tracer->attached()) {
      tap::skip("nobody may trace here");
      return;
    }
    auto pidfd = openPidfd(pid);
    harness->signalGroup(1, SIGKILL, Target::Leader);
    ready = CHECK(pidfd) && CHECK(waitReadable(*pidfd, kLong));
  }

  TempDir folder;
  Witness witness{folder};
  Harness harness;
  pid_t pid = 0;
  std::optional<Tracer> tracer;
  bool ready = false;
};

}  // namespace

TEST("a worker that ends under a debugger costs no processor time until the debugger has waited") {
  Traced traced;
  if (!traced.ready) return;
  const SupervisorTime time;
  const auto before = time.now();

  pass(traced.harness, traced.witness, 500ms);

  // Ten looks, and another group's start and end; a thread that spins takes what there is.
  CHECK((time.now() - before) / 1ms < 100);
  REQUIRE(traced.tracer->wait());
  CHECK(signaledWith(traced.harness.next<Exited>(), SIGKILL));
  (void)traced.harness.next<Ended>();
  CHECK(gone(traced.pid));
}

TEST(
    "a worker that ends under a debugger is told once the debugger is gone without having waited") {
  for (const auto& variant : kVariants) {
    Traced traced(variant);
    if (!traced.ready) return;

    traced.tracer->die();

    CHECK(signaledWith(traced.harness.next<Exited>(), SIGKILL));
    CHECK(traced.harness.next<Ended>().stuck.empty());
    CHECK(gone(traced.pid));
  }
}

TEST("a worker whose debugger doesn't wait is given up, and reaped once the debugger has") {
  for (const auto& variant : kVariants) {
    Traced traced(variant);
    if (!traced.ready) return;

    traced.harness->stopGroup(1, {SIGTERM, Target::Leader, 0ms, 20ms});

    const Ended ended = traced.harness.next<Ended>();
    REQUIRE_EQ(ended.stuck.size(), 1u);
    CHECK_EQ(ended.stuck[0].pid, traced.pid);
    CHECK_EQ(ended.stuck[0].state, 'Z');
    CHECK(!gone(traced.pid));
    REQUIRE(traced.tracer->wait());
    for (int i = 0; i < 200 && !gone(traced.pid); i++) pass(traced.harness, traced.witness, 10ms);
    CHECK(gone(traced.pid));
  }
}

TAP_MAIN
