// Old kernels and containers on any kernel: each case runs in a child that first puts a seccomp
// filter in front of itself, as Docker does.
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "core/base/clone.h"
#include "core/base/siphash.h"
#include "core/coordination/proof.h"
#include "core/shm/shm_writer.h"
#include "core/spawn/spawn.h"
#include "test/native/group_harness.h"

using namespace regroup;
using namespace support;

namespace {

constexpr long kSysPidfdSendSignal = 424;
constexpr long kSysPidfdOpen = 434;

struct Filter {
  std::vector<long> calls;
  uint32_t action;
};
constexpr uint32_t kNotImplemented = SECCOMP_RET_ERRNO | ENOSYS;  // Docker since 20.10.10
constexpr uint32_t kNotPermitted = SECCOMP_RET_ERRNO | EPERM;     // before

bool install(const Filter& filter) {
  std::vector<sock_filter> program = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
  };
  for (const long call : filter.calls) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, filter.action));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog prog = {static_cast<unsigned short>(program.size()), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

/// Runs `body` in a child behind the filter; its failed checks become ours.
void behind(const Filter& filter, void (*body)()) {
  auto pipe = makePipe();
  const pid_t pid = ::fork();
  if (pid == 0) {
    tap::state().failures.clear();
    if (!install(filter)) tap::fail(__FILE__, __LINE__, "no seccomp here");
    body();
    const std::string& failures = tap::state().failures;
    (void)!::write(pipe->write.get(), failures.data(), failures.size());
    ::_exit(0);
  }
  pipe->write.reset();
  tap::state().failures += LineReader(std::move(pipe->read)).rest();
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  CHECK_EQ(status, 0);
}

void stopAGroup() {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  harness->startGroup(group(1, witness, {{"exit-on-term"}, {"leave-child-on-term"}}));
  (void)harness.next<Started>();
  await(witness, "ready", 2);

  harness->stopGroup(1, gentle());

  for (int i = 0; i < 2; i++) {
    const Exited exited = harness.next<Exited>();
    CHECK(exitedWith(exited, exited.index == 0 ? 43 : 0));
  }
  (void)harness.next<Ended>();
  CHECK(witness.reader().ended());
}

struct Case {
  std::vector<long> calls;
  bool Features::*off;
};
const Case kCases[] = {
    {{kSysClone3}, &Features::clone3},
    {{kSysPidfdOpen}, &Features::pidfd},
    {{kSysPidfdSendSignal}, &Features::pidfdSignal},
    {{kSysCloseRange}, &Features::closeRange},
    {{SYS_memfd_create}, &Features::sealFutureWrite},
    {{kSysClone3, kSysPidfdOpen, kSysPidfdSendSignal, kSysCloseRange}, &Features::pidfd},
};
const Case* current;

}  // namespace

TEST("a call that a filter refuses, by ENOSYS or EPERM, counts as not there") {
  for (const uint32_t action : {kNotImplemented, kNotPermitted}) {
    for (const Case& filtered : kCases) {
      current = &filtered;
      behind({filtered.calls, action}, [] { CHECK(!(probeFeatures().*current->off)); });
    }
  }
}

TEST("a group starts, stops and leaves nobody behind any of these filters") {
  for (const uint32_t action : {kNotImplemented, kNotPermitted}) {
    for (const Case& filtered : kCases) {
      // Where clone3 is EPERM, newer glibcs can't start threads: Node wouldn't get this far.
      if (action == kNotPermitted && filtered.calls[0] == kSysClone3) continue;
      behind({filtered.calls, action}, stopAGroup);
    }
  }
}

TEST("where no thread can be started, a supervisor says so") {
  behind({{kSysClone3, SYS_clone}, kNotPermitted}, [] {
    auto supervisor = Supervisor::start({.onEvent = [](SupervisorEvent) {}});

    CHECK(!supervisor);
    CHECK_EQ(supervisor.error().code, EPERM);
  });
}

TEST("where no memfd can be had, the writer of shared memory says so") {
  behind({{SYS_memfd_create}, kNotPermitted}, [] {
    auto writer = shm::Writer::create({});

    CHECK(!writer);
    CHECK_EQ(writer.error().code, EPERM);
  });
}

TEST("where no random bytes can be had, no two keys are the same") {
  behind({{SYS_getrandom}, kNotPermitted}, [] {
    const HashKey one = HashKey::random();
    const HashKey other = HashKey::random();

    CHECK(one.low != other.low && one.high != other.high && one.low != one.high);
    coordination::NonceSource some;
    coordination::NonceSource others;
    CHECK(some.next() != others.next());
  });
}

TEST("a spawner whose method is refused when it's used takes the next one") {
  behind({{kSysClone3}, kNotPermitted}, [] {
    Features features;
    features.clone3 = features.clearSighand = features.clonePidfd = features.pidfd = true;
    auto spawner = Spawner::create(features);
    Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const int fds[] = {null.get(), null.get(), null.get()};
    auto command = PreparedCommand::prepare(fixture({"exit", "5"}), fds);

    auto outcome = spawner->spawn(*command);

    auto* process = std::get_if<Process>(&outcome);
    REQUIRE(process != nullptr);
    CHECK_EQ(spawner->method(), SpawnMethod::ClonePidfd);
    auto status = waitForExit(process->pid, Reap::Yes, true);
    CHECK(status && *status && (*status)->code == 5);
  });
}

TEST("a worker that's killed before its exec is told apart, and the step that it was at") {
  behind({{SYS_setsid}, SECCOMP_RET_KILL_PROCESS}, [] {
    auto spawner = Spawner::create(probeFeatures());
    Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const int fds[] = {null.get(), null.get(), null.get()};
    auto command = PreparedCommand::prepare(fixture({"exit", "5"}), fds);

    auto outcome = spawner->spawn(*command);

    auto* failure = std::get_if<SpawnFailure>(&outcome);
    REQUIRE(failure != nullptr);
    CHECK(failure->killed);
    CHECK_EQ(failure->step, StartStep::Session);
    CHECK_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
  });
}

TEST("each step of the child that the kernel refuses is named") {
  struct Step {
    long call;
    StartStep step;
  };
  static const Step kSteps[] = {
      {SYS_setsid, StartStep::Session},        {SYS_sched_setaffinity, StartStep::Affinity},
      {SYS_set_mempolicy, StartStep::Memory},  {SYS_dup3, StartStep::Stdio},
      {SYS_umask, StartStep::Umask},           {SYS_setpriority, StartStep::Nice},
      {SYS_ioprio_set, StartStep::IoPriority}, {SYS_write, StartStep::OomScoreAdj},
      {SYS_prlimit64, StartStep::Rlimits},     {SYS_chdir, StartStep::Cwd},
      {SYS_execve, StartStep::Exec},
  };
  static const Step* step;
  for (const Step& each : kSteps) {
    step = &each;
    behind({{each.call}, SECCOMP_RET_ERRNO | ENOMEM}, [] {
      for (const SpawnMethod method : {SpawnMethod::Clone3, SpawnMethod::ClonePidfd,
                                       SpawnMethod::ClonePidfdOpen, SpawnMethod::Clone}) {
        auto spawner = Spawner::create(probeFeatures());
        spawner->limitTo(method);
        Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        const int fds[] = {null.get(), null.get(), null.get()};
        Command plan = fixture({"exit", "5"});
        plan.cwd = "/";
        plan.nofileSoft = 64;
        plan.limits = {.nice = 1, .ioPriority = 0, .oomScoreAdj = 0, .umask = 022};
        plan.binding = {.cpus = {{0}}, .memory = MemoryPolicy{MemoryPolicy::Mode::Local, {}}};
        auto command = PreparedCommand::prepare(plan, fds);
        auto outcome = spawner->spawn(*command);
        auto* failure = std::get_if<SpawnFailure>(&outcome);
        if (!CHECK(failure != nullptr)) continue;
        CHECK_EQ(failure->step, step->step);
        CHECK_EQ(failure->error.code, ENOMEM);
      }
    });
  }
}

TAP_MAIN
