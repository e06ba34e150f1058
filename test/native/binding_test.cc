// CPUs and memory policy, set between clone and execve. One node suffices: what the kernel does
// with several is its own affair.
#include "core/spawn/binding.h"

#include <sched.h>
#include <sys/syscall.h>

#include "core/spawn/spawn.h"
#include "test/native/group_harness.h"

using namespace regroup;
using namespace support;

namespace {

using Mode = MemoryPolicy::Mode;

/// A CPU and a node that no machine has, beyond what a cpu_set_t holds.
constexpr uint32_t kNoCpu = 8000;
constexpr uint32_t kNoNode = 1000;

std::vector<uint32_t> ourCpus() {
  uint64_t words[1024] = {};
  const long bytes = ::syscall(SYS_sched_getaffinity, 0, sizeof words, words);
  std::vector<uint32_t> cpus;
  for (uint32_t cpu = 0; bytes > 0 && cpu < static_cast<uint32_t>(bytes) * 8; cpu++) {
    if (words[cpu / 64] >> cpu % 64 & 1) cpus.push_back(cpu);
  }
  return cpus;
}

/// What a worker with this binding says of itself; empty if it didn't start.
std::string status(const Binding& binding, SpawnMethod method = SpawnMethod::Clone3,
                   std::vector<Refusal>* refused = nullptr) {
  auto spawner = Spawner::create(probeFeatures());
  spawner->limitTo(method);
  auto pipe = makePipe();
  Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const int fds[] = {null.get(), pipe->write.get(), null.get()};
  Command command = fixture({"status"});
  command.binding = binding;
  auto prepared = PreparedCommand::prepare(command, fds);
  auto outcome = spawner->spawn(*prepared, refused);
  pipe->write.reset();
  const std::string text = LineReader(std::move(pipe->read)).rest();
  const auto* process = std::get_if<Process>(&outcome);
  if (process != nullptr) (void)waitForExit(process->pid, Reap::Yes, true);
  return text;
}

bool has(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

/// The fixture's line: a mode of set_mempolicy(2), and its nodes.
std::string policy(long mode, const std::string& nodes) {
  return "memory policy " + std::to_string(mode) + " nodes " + nodes;
}

}  // namespace

TEST("a mask is as large as its highest number asks") {
  const PreparedBinding binding({.cpus = {{0, 64, 1030}}});

  const BindingCalls calls = binding.calls();

  CHECK_EQ(calls.cpuBytes, 17 * 8);
  CHECK_EQ(calls.cpus[0], 1u);
  CHECK_EQ(calls.cpus[1], 1u);
  CHECK_EQ(calls.cpus[16], 64u);
  CHECK_EQ(calls.mode, -1);
}

TEST("each memory policy becomes the mode and the nodes of set_mempolicy") {
  const auto calls = [](Mode mode, std::vector<uint32_t> nodes) {
    return PreparedBinding({.memory = MemoryPolicy{mode, std::move(nodes)}});
  };
  const PreparedBinding bind = calls(Mode::Bind, {0, 2});
  CHECK_EQ(bind.calls().mode, 2);
  CHECK_EQ(bind.calls().nodes[0], 5u);
  CHECK_EQ(bind.calls().nodeBits, 65);
  CHECK(bind.calls().firstNode == nullptr);
  CHECK_EQ(calls(Mode::Interleave, {0}).calls().mode, 3);
  CHECK_EQ(calls(Mode::Preferred, {1}).calls().mode, 1);
  const PreparedBinding local = calls(Mode::Local, {});
  CHECK_EQ(local.calls().mode, 4);
  CHECK(local.calls().nodes == nullptr);
  const PreparedBinding many = calls(Mode::Preferred, {65, 3});
  CHECK_EQ(many.calls().mode, 5);
  CHECK_EQ(many.calls().nodes[0], 8u);
  CHECK_EQ(many.calls().nodes[1], 2u);
  // The first that was given, and not the lowest.
  CHECK_EQ(many.calls().firstNode[0], 0u);
  CHECK_EQ(many.calls().firstNode[1], 2u);
}

TEST("pain 19: a worker has its CPUs and its memory policy from its first instruction on") {
  const std::vector<uint32_t> ours = ourCpus();
  const uint32_t last = ours.back();
  for (const SpawnMethod method : {SpawnMethod::Clone3, SpawnMethod::ClonePidfd,
                                   SpawnMethod::ClonePidfdOpen, SpawnMethod::Clone}) {
    const std::string text =
        status({.cpus = {{last}}, .memory = MemoryPolicy{Mode::Bind, {0}}}, method);

    CHECK(has(text, "Cpus_allowed_list:\t" + std::to_string(last)));
    CHECK(has(text, policy(2, "0")));
    CHECK(ourCpus() == ours);
  }
}

TEST("CPUs beyond those of a cpu_set_t are cut off, as the kernel does it") {
  const std::vector<uint32_t> ours = ourCpus();

  const std::string text = status({.cpus = {{ours.front(), kNoCpu}}});

  CHECK(has(text, "Cpus_allowed_list:\t" + std::to_string(ours.front())));
}

TEST("every memory policy arrives, and none is one's own") {
  CHECK(has(status({}), policy(0, "")));
  CHECK(has(status({.memory = MemoryPolicy{Mode::Preferred, {0}}}), policy(1, "0")));
  CHECK(has(status({.memory = MemoryPolicy{Mode::Interleave, {0}}}), policy(3, "0")));
  CHECK(has(status({.memory = MemoryPolicy{Mode::Local, {}}}), policy(4, "")));
  // Before 5.15 it's the first node alone.
  const std::string many = status({.memory = MemoryPolicy{Mode::Preferred, {0, kNoNode}}});
  CHECK(has(many, policy(5, "0")) || has(many, policy(1, "0")));
}

TEST("CPUs and nodes that aren't there are EINVAL at their steps, whatever the method") {
  struct Case {
    Binding binding;
    StartStep step;
  };
  const Case cases[] = {
      {{.cpus = {{kNoCpu}}}, StartStep::Affinity},
      {{.cpus = std::vector<uint32_t>{}}, StartStep::Affinity},
      {{.memory = MemoryPolicy{Mode::Bind, {kNoNode}}}, StartStep::Memory},
      {{.memory = MemoryPolicy{Mode::Preferred, {kNoNode, kNoNode - 1}}}, StartStep::Memory},
  };
  for (const SpawnMethod method : {SpawnMethod::Clone3, SpawnMethod::ClonePidfd,
                                   SpawnMethod::ClonePidfdOpen, SpawnMethod::Clone}) {
    for (const Case& each : cases) {
      auto spawner = Spawner::create(probeFeatures());
      spawner->limitTo(method);
      Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
      const int fds[] = {null.get(), null.get(), null.get()};
      Command command = fixture({"exit", "0"});
      command.binding = each.binding;
      auto prepared = PreparedCommand::prepare(command, fds);
      auto outcome = spawner->spawn(*prepared);
      const auto* failure = std::get_if<SpawnFailure>(&outcome);
      REQUIRE(failure != nullptr);
      CHECK_EQ(failure->step, each.step);
      CHECK_EQ(failure->error.code, EINVAL);
    }
  }
}

TEST("an optional binding that's refused is told, and the worker starts without it") {
  std::vector<Refusal> refused;

  const std::string text = status({.cpus = {{kNoCpu}},
                                   .memory = MemoryPolicy{Mode::Bind, {kNoNode}},
                                   .optionalCpus = true,
                                   .optionalMemory = true},
                                  SpawnMethod::Clone3, &refused);

  CHECK(has(text, policy(0, "")));
  REQUIRE(refused.size() == 2);
  CHECK_EQ(refused[0].step, StartStep::Affinity);
  CHECK_EQ(refused[0].error.code, EINVAL);
  CHECK_EQ(refused[1].step, StartStep::Memory);
  CHECK_EQ(refused[1].error.code, EINVAL);
}

TEST("a group tells which of its workers run without their optional binding") {
  Harness harness;
  TempDir folder;
  Witness witness(folder);
  GroupPlan plan = group(1, witness, {{"exit", "0"}, {"exit", "0"}, {"exit", "0"}});
  plan.workers[0].command.binding = {.cpus = ourCpus(), .optionalCpus = true};
  plan.workers[1].command.binding = {.cpus = {{kNoCpu}}, .optionalCpus = true};

  harness->startGroup(std::move(plan));

  const Started started = harness.next<Started>();
  REQUIRE(started.unbound.size() == 1);
  CHECK_EQ(started.unbound[0].index, 1u);
  CHECK_EQ(started.unbound[0].step, StartStep::Affinity);
  CHECK_EQ(started.unbound[0].error.code, EINVAL);
  for (int i = 0; i < 3; i++) CHECK(exitedWith(harness.next<Exited>(), 0));
  (void)harness.next<Ended>();
}

TAP_MAIN
