// Limits of a worker, set between clone and execve, by a process with and without privileges.
#include "core/spawn/limits.h"

#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "core/spawn/spawn.h"
#include "test/native/group_harness.h"

using namespace regroup;
using namespace support;

namespace {

constexpr SpawnMethod kMethods[] = {SpawnMethod::Clone3, SpawnMethod::ClonePidfd,
                                    SpawnMethod::ClonePidfdOpen, SpawnMethod::Clone};
constexpr int kIdle = 3 << 13;
constexpr int kRealtime = 1 << 13;

ResourceLimit both(int resource, rlim_t soft, rlim_t hard) {
  return {resource, true, true, soft, hard};
}

struct Run {
  std::string text;  // what the worker says of its limits
  std::optional<SpawnFailure> failure;
};

Run run(const Limits& limits, SpawnMethod method = SpawnMethod::Clone3,
        std::optional<rlim_t> nofileSoft = {}) {
  auto spawner = Spawner::create(probeFeatures());
  spawner->limitTo(method);
  auto pipe = makePipe();
  Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const int fds[] = {null.get(), pipe->write.get(), null.get()};
  Command command = fixture({"limits"});
  command.limits = limits;
  command.nofileSoft = nofileSoft;
  auto prepared = PreparedCommand::prepare(command, fds);
  auto outcome = spawner->spawn(*prepared);
  pipe->write.reset();
  Run result{LineReader(std::move(pipe->read)).rest(), {}};
  if (const auto* process = std::get_if<Process>(&outcome))
    (void)waitForExit(process->pid, Reap::Yes, true);
  else
    result.failure = *std::get_if<SpawnFailure>(&outcome);
  return result;
}

bool has(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

/// Our own, as the fixture would tell them.
std::string ours() {
  return run({}).text;
}

/// Runs `body` in a child that has no capabilities; its failed checks become ours.
void unprivileged(void (*body)()) {
  auto pipe = makePipe();
  const pid_t pid = ::fork();
  if (pid == 0) {
    tap::state().failures.clear();
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[2] = {};
    if (::syscall(SYS_capset, &header, none) < 0) tap::fail(__FILE__, __LINE__, "no capset here");
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

void setSoftAndHard(int resource, rlim_t soft, rlim_t hard) {
  const rlimit limit{soft, hard};
  CHECK_EQ(::setrlimit(static_cast<__rlimit_resource_t>(resource), &limit), 0);
}

}  // namespace

TEST("every limit is set by every method, and ours stay as they are") {
  const std::string before = ours();
  for (const SpawnMethod method : kMethods) {
    const Run worker = run({.resources = {both(RLIMIT_NOFILE, 100, 200), both(RLIMIT_CORE, 0, 0)},
                            .nice = 7,
                            .ioPriority = kIdle,
                            .oomScoreAdj = 900,
                            .umask = 027},
                           method);

    CHECK(!worker.failure);
    CHECK(has(worker.text, "rlimit " + std::to_string(RLIMIT_NOFILE) + " 100 200"));
    CHECK(has(worker.text, "rlimit " + std::to_string(RLIMIT_CORE) + " 0 0"));
    CHECK(has(worker.text, "nice 7"));
    CHECK(has(worker.text, "ioprio " + std::to_string(kIdle)));
    CHECK(has(worker.text, "oom_score_adj 900"));
    CHECK(has(worker.text, "umask " + std::to_string(027)));
    CHECK_EQ(ours(), before);
  }
}

TEST("a soft limit can be set without the hard one, and a hard one takes the soft one down") {
  unprivileged([] {
    setSoftAndHard(RLIMIT_NOFILE, 300, 400);
    const std::string nofile = "rlimit " + std::to_string(RLIMIT_NOFILE);
    const auto limited = [](bool soft, bool hard, rlim_t value) {
      return run({.resources = {{RLIMIT_NOFILE, soft, hard, value, value}}}).text;
    };

    CHECK(has(limited(true, false, 350), nofile + " 350 400"));
    CHECK(has(limited(false, true, 350), nofile + " 300 350"));
    CHECK(has(limited(false, true, 250), nofile + " 250 250"));
    CHECK(has(limited(true, true, 350), nofile + " 350 350"));
  });
}

TEST("an explicit limit of open files beats the one that workers get by default") {
  const std::string nofile = "rlimit " + std::to_string(RLIMIT_NOFILE);

  CHECK(has(
      run({.resources = {{RLIMIT_NOFILE, true, false, 90, 0}}}, SpawnMethod::Clone3, 70).text,
      nofile + " 90 " + [] {
        rlimit limit{};
        ::getrlimit(RLIMIT_NOFILE, &limit);
        return limit.rlim_max == RLIM_INFINITY ? "unlimited" : std::to_string(limit.rlim_max);
      }()));
}

TEST("limits take effect although few files may be open") {
  const Run worker = run({.resources = {both(RLIMIT_NOFILE, 3, 3)}, .oomScoreAdj = 800});

  // Its own look at the score fails for want of a descriptor; that it runs is the point.
  CHECK(!worker.failure);
  CHECK(has(worker.text, "rlimit " + std::to_string(RLIMIT_NOFILE) + " 3 3"));
}

TEST("a limit that takes a privilege we lack is refused at its step, whatever the method") {
  unprivileged([] {
    setSoftAndHard(RLIMIT_NOFILE, 300, 400);
    setSoftAndHard(RLIMIT_NICE, 0, 0);
    struct Case {
      Limits limits;
      StartStep step;
      int code;
      int resource;
    };
    const Case cases[] = {
        {{.nice = -5}, StartStep::Nice, EACCES, 0},
        {{.ioPriority = kRealtime}, StartStep::IoPriority, EPERM, 0},
        {{.oomScoreAdj = -1000}, StartStep::OomScoreAdj, EACCES, 0},
        {{.resources = {both(RLIMIT_CORE, 0, 0), both(RLIMIT_NOFILE, 500, 500)}},
         StartStep::Rlimits,
         EPERM,
         1},
        {{.resources = {{RLIMIT_NOFILE, true, false, 500, 0}}}, StartStep::Rlimits, EINVAL, 0},
    };
    for (const SpawnMethod method : kMethods) {
      for (const Case& each : cases) {
        const Run worker = run(each.limits, method);
        if (!CHECK(worker.failure.has_value())) continue;
        CHECK_EQ(worker.failure->step, each.step);
        CHECK_EQ(worker.failure->error.code, each.code);
        CHECK_EQ(worker.failure->resource, each.resource);
        CHECK_EQ(worker.failure->killed, false);
      }
    }
  });
}

TEST("a resource limit that's refused is told with the hard limit that is in its way") {
  unprivileged([] {
    setSoftAndHard(RLIMIT_NOFILE, 300, 400);
    Harness harness;
    TempDir folder;
    Witness witness(folder);
    GroupPlan plan = group(1, witness, {{"exit", "0"}, {"exit", "0"}});
    plan.workers[1].command.limits.resources = {both(RLIMIT_CORE, 0, 0),
                                                both(RLIMIT_NOFILE, 500, RLIM_INFINITY)};

    harness->startGroup(std::move(plan));

    const StartFailed failed = harness.next<StartFailed>();
    CHECK_EQ(failed.index, 1u);
    CHECK_EQ(failed.step, StartStep::Rlimits);
    CHECK_EQ(failed.error.code, EPERM);
    CHECK_EQ(failed.detail, "nofile=500:unlimited, where the hard limit is 400");
  });
}

TEST("every resource of prlimit(1) has its number, and no other name has one") {
  CHECK(resourceNamed("nofile") == RLIMIT_NOFILE);
  CHECK(resourceNamed("as") == RLIMIT_AS);
  CHECK(resourceNamed("rttime") == RLIMIT_RTTIME);
  CHECK(!resourceNamed("NOFILE"));
  CHECK(!resourceNamed(""));
}

TAP_MAIN
