// Supervisors whose workers' log files block: a FIFO that nobody reads is a disk that's dead.
#include "core/process/supervisor.h"
#include "test/native/group_harness.h"

using namespace support;

namespace {

std::string contents(const std::string& path) {
  auto bytes = readFile(path.c_str(), 64 << 20);
  return bytes ? *std::move(bytes) : std::string();
}

Fd openReader(const std::string& fifo) {
  (void)::mkfifo(fifo.c_str(), 0600);
  return Fd(::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
}

/// Frees whoever waits for a reader.
void release(const std::string& fifo) {
  (void)openReader(fifo);
}

WorkerPlan shell(const std::string& script, StreamPlan out) {
  WorkerPlan worker;
  worker.command.file = "/bin/sh";
  worker.command.argv = {"sh", "-c", script};
  worker.command.env = {"PATH=/usr/bin:/bin"};
  worker.streams[0] = std::move(out);
  worker.streams[1].to = StreamPlan::To::Null;
  return worker;
}

StreamPlan toPipe(const std::string& file) {
  StreamPlan plan{StreamPlan::To::Pipe, {}};
  plan.sinks.file = file;
  return plan;
}

}  // namespace

TEST("F-N02: a log file that blocks costs its own worker's output, and the group's end tells it") {
  TempDir folder;
  const Fd reader = openReader(folder.file("dead"));
  Pump::Options output;
  // The healthy file must make progress within this, on a machine that's busy as well.
  output.fileGiveUp = 1s;
  Supervisor::Options options;
  options.pump = [output] { return Pump::start(output); };
  Harness harness(std::move(options));
  GroupPlan plan{1, makeCookie(), {}, 10, 100ms};
  plan.workers.push_back(shell("yes", toPipe(folder.file("dead"))));
  plan.workers.push_back(shell("yes | head -c 3000000", toPipe(folder.file("healthy"))));

  harness->startGroup(std::move(plan));
  (void)harness.next<Started>();
  // The other's is written, though the first one waits, which is told.
  OutputFailed told;
  for (int i = 0; i < 2; i++) {
    auto event = harness.nextEvent();
    REQUIRE(event);
    if (auto* failed = std::get_if<OutputFailed>(&event->what)) told = *failed;
    if (auto* exited = std::get_if<Exited>(&event->what)) CHECK(exitedWith(*exited, 0));
  }
  CHECK_EQ(told.index, 0);
  CHECK_EQ(told.error.code, ETIMEDOUT);
  CHECK_EQ(told.droppedLines, 0);
  harness->stopGroup(1, kKill);

  CHECK(signaledWith(harness.next<Exited>(), SIGKILL));
  told = harness.next<OutputFailed>();
  CHECK_EQ(told.index, 0);
  CHECK_EQ(told.path, folder.file("dead"));
  CHECK_EQ(told.error.code, ETIMEDOUT);
  CHECK(told.droppedLines > 1'000'000);
  const Ended ended = harness.next<Ended>();
  REQUIRE_EQ(ended.tails.size(), 2);
  CHECK_EQ(ended.tails[0].bytes, "y\ny\ny\ny\ny\n");
  CHECK_EQ(contents(folder.file("healthy")).size(), 3'000'000);
}

TEST("F-N02: a log file that doesn't open fails the start, and is named") {
  for (const auto to : {StreamPlan::To::Pipe, StreamPlan::To::File}) {
    TempDir folder;
    const std::string dead = folder.file("dead");
    (void)::mkfifo(dead.c_str(), 0600);
    Supervisor::Options options;
    options.openWait = 50ms;
    Harness harness(std::move(options));
    GroupPlan plan{1, makeCookie(), {}, 0, 100ms};
    plan.workers.push_back(shell("exit 1", toPipe(folder.file("healthy"))));
    StreamPlan stream = toPipe(dead);
    stream.to = to;
    plan.workers.push_back(shell("exit 1", stream));

    harness->startGroup(std::move(plan));

    const StartFailed failed = harness.next<StartFailed>();
    CHECK_EQ(failed.index, 1);
    CHECK_EQ(failed.step, StartStep::Output);
    CHECK_EQ(failed.error.code, ETIMEDOUT);
    CHECK_EQ(failed.detail, dead);
    release(dead);
  }
}

TEST("F-N02: a stop is heard while a log file doesn't open, and nothing is started") {
  TempDir folder;
  const std::string dead = folder.file("dead");
  (void)::mkfifo(dead.c_str(), 0600);
  Harness harness;
  GroupPlan plan{1, makeCookie(), {}, 0, 100ms};
  plan.workers.push_back(shell("exit 1", toPipe(dead)));

  harness->startGroup(std::move(plan));
  harness->stopGroup(1, gentle());

  const StartFailed failed = harness.next<StartFailed>();
  CHECK_EQ(failed.error.code, ECANCELED);
  CHECK_EQ(failed.detail, dead);
  release(dead);
}

TEST("F-N02: a supervisor is closed though a log file blocks, or doesn't open") {
  TempDir folder;
  const Fd reader = openReader(folder.file("blocks"));
  const std::string dead = folder.file("dead");
  (void)::mkfifo(dead.c_str(), 0600);
  {
    Pump::Options output;
    output.fileGiveUp = 50ms;
    Supervisor::Options options;
    options.pump = [output] { return Pump::start(output); };
    Harness harness(std::move(options));
    GroupPlan blocks{1, makeCookie(), {}, 0, 100ms};
    blocks.workers.push_back(shell("yes", toPipe(folder.file("blocks"))));
    harness->startGroup(std::move(blocks));
    (void)harness.next<Started>();
    GroupPlan opens{2, makeCookie(), {}, 0, 100ms};
    opens.workers.push_back(shell("exit 1", toPipe(dead)));
    harness->startGroup(std::move(opens));

    harness->close();  // the point: it returns
  }
  release(dead);
}

TAP_MAIN
