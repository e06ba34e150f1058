#include <errno.h>

#include <algorithm>
#include <atomic>

#include "core/process/supervisor_impl.h"

namespace regroup {

/// The log files of a group that starts, opened by a helper: a dead disk, or a FIFO without a
/// reader, makes it wait, and us hear what happens meanwhile.
///
/// Thread: the helper's until it has told that it's done, then the supervisor's; never, if it's
/// left behind.
struct Supervisor::Impl::Opening {
  GroupPlan plan;
  std::vector<SinkFiles> files;    // two for each worker
  std::optional<Error> failure;    // of `stream`
  std::atomic<size_t> stream{0};   // any thread: the one that's being opened
  std::vector<std::string> paths;  // any thread: of each stream; empty: there's nothing to open

  void run() {
    files.resize(paths.size());
    for (; stream < paths.size(); stream++) {
      StreamPlan& each = plan.workers[stream / 2].streams[stream % 2];
      if (paths[stream].empty()) continue;
      auto opened = Pump::openFiles(each.sinks);
      if (!opened) {
        failure = opened.error();
        return;
      }
      files[stream] = *std::move(opened);
    }
  }
};

/// @returns false if there's nothing to open; otherwise launch() follows, or handOver(), or a
/// failure
bool Supervisor::Impl::openFiles(Group& group, GroupPlan& plan) {
  std::vector<std::string> paths;
  for (const WorkerPlan& worker : plan.workers) {
    for (const auto& [to, sinks] : worker.streams) {
      const bool opens = to == StreamPlan::To::File || to == StreamPlan::To::Pipe;
      const bool onlyFiltered = sinks.file.empty() && hasFilter(sinks);
      paths.push_back(!opens ? "" : onlyFiltered ? sinks.filteredFile : sinks.file);
    }
  }
  if (std::all_of(paths.begin(), paths.end(), [](const auto& path) { return path.empty(); }))
    return false;

  group.phase = Phase::Opening;
  auto opening = std::make_shared<Opening>();
  opening->plan = std::move(plan);
  opening->paths = std::move(paths);
  group.opening = opening;
  auto helpers = needHelpers();
  if (!helpers) {
    giveUpOpening(group, helpers.error());
    return true;
  }
  (*helpers)->post([this, loop = loop_, opening, id = group.id] {
    opening->run();
    // The loop is shared: what's posted once it has ended isn't run, and we may be gone then.
    loop->post([this, opening, id] {
      Group* const group = find(id);
      if (group == nullptr || group->opening != opening) return;
      cancelTimer(*group);
      if (opening->failure) return giveUpOpening(*group, *opening->failure);
      group->opening.reset();
      if (group->handOver) return handOver(*group, opening->plan, std::move(opening->files));
      launch(*group, opening->plan, std::move(opening->files));
      starts_.over();
    });
    return false;
  });
  watchOpening(group, 0);
  return true;
}

/// Each file has its time.
void Supervisor::Impl::watchOpening(Group& group, size_t seen) {
  group.timer = loop_->setTimer(loop_->now() + options_.openWait, [this, &group, seen] {
    group.timer.reset();
    const size_t now = group.opening->stream;
    if (now == seen) return giveUpOpening(group, {"open", ETIMEDOUT});
    watchOpening(group, now);
  });
}

/// None was started. The helper, should it be stuck, is left behind with what it has opened.
void Supervisor::Impl::giveUpOpening(Group& group, Error error) {
  starts_.over();
  cancelTimer(group);
  const auto opening = std::move(group.opening);
  const size_t stream = std::min<size_t>(opening->stream, opening->paths.size() - 1);
  group.failure = StartFailed{stream / 2, StartStep::Output, error, opening->paths[stream]};
  group.handOver.reset();
  forgetStandbys(group);
  failStart(group);
}

Result<Helpers*> Supervisor::Impl::needHelpers() {
  if (!helpers_) helpers_ = std::make_shared<Helpers>();
  auto prepared = helpers_->prepare();
  if (!prepared) return prepared.error();
  return helpers_.get();
}

Result<Pump*> Supervisor::Impl::needPump() {
  if (!pump_) {
    Pump::Options own;
    own.stdoutFd = options_.stdoutFd;
    own.stderrFd = options_.stderrFd;
    auto pump = options_.pump ? options_.pump() : Pump::start(std::move(own));
    if (!pump) return pump.error();
    pump_ = *std::move(pump);
  }
  return pump_.get();
}

/// A close may wait for what a worker has written by then to be on a disk.
void Supervisor::Impl::closeFiles(std::vector<Fd> files) {
  if (files.empty()) return;
  auto shared = std::make_shared<std::vector<Fd>>(std::move(files));
  helpers_->post([shared] {
    shared->clear();
    return false;
  });
}

}  // namespace regroup
