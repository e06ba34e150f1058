#include <algorithm>

#include "core/base/own_proc.h"
#include "core/process/early_status.h"
#include "core/process/supervisor_impl.h"

namespace regroup {

namespace {

/// A program whose disk doesn't answer for so long couldn't be started either.
constexpr std::chrono::milliseconds kCheckPatience{1000};

/// Behind what the user preloads: whoever must come first (jemalloc, a sanitizer) still does.
void preload(std::vector<std::string>& env, const std::string& library) {
  constexpr std::string_view kName = "LD_PRELOAD=";
  const auto entry = std::find_if(env.begin(), env.end(),
                                  [&](const auto& each) { return each.starts_with(kName); });
  if (entry != env.end()) {
    *entry += ":" + library;
  } else {
    env.push_back(std::string(kName) + library);
  }
}

/// Where the program may be; relative paths count from where the worker will be.
std::vector<std::string> candidatesOf(const Command& command) {
  std::vector<std::string> paths = pathsOf(command.file, command.env);
  for (std::string& path : paths) {
    if (path.front() != '/' && !command.cwd.empty()) path = command.cwd + "/" + path;
  }
  return paths;
}

}  // namespace

/// The workers of a group are started alike, so that the first one's program tells of all.
void Supervisor::Impl::beginPreload(const GroupPlan& plan) {
  if (!preloadCheck_ || plan.workers.empty()) return;
  preloadCheck_->begin(candidatesOf(plan.workers[0].command));
}

/// What's preloaded can be done without: where anything is in doubt, nothing is.
void Supervisor::Impl::preparePreload(Group& group, GroupPlan& plan) {
  if (!preloadCheck_ || plan.workers.empty()) return;
  if (preloadCheck_->answer(kCheckPatience) != Preload::Fine) return;
  // Else the workers couldn't find the page, nor we their ends.
  if (!options_.preloads.early.empty() && procIsOurs()) {
    auto watch = EarlyWatch::create(plan.workers.size());
    if (watch) group.early = *std::move(watch);
  }
  const std::string program = plan.workers[0].command.file;
  for (size_t i = 0; i < plan.workers.size(); i++) {
    Command& command = plan.workers[i].command;
    if (command.file != program) continue;
    if (group.early) {
      preload(command.env, options_.preloads.early);
      command.env.push_back(group.early->variable(i));
    }
    if (!options_.preloads.exitGuard.empty()) preload(command.env, options_.preloads.exitGuard);
  }
}

/// When all have started: the threads mustn't delay that, and no mark is lost meanwhile.
void Supervisor::Impl::startEarly(Group& group) {
  if (!group.early) return;
  // Without all of its threads it gives fewer hints.
  (void)group.early->start(features_.earlyWaitv, [this, id = group.id](size_t index, TimePoint at) {
    post([id, index, at](Impl& self) { self.onHint(id, index, at); });
  });
}

void Supervisor::Impl::onHint(GroupId id, size_t index, TimePoint at) {
  Group* const group = find(id);
  if (group == nullptr || group->failure) return;
  const Worker& worker = *group->workers[index];
  if (!worker.live()) return;  // gone already: its memory was small
  if (auto status = dyingStatus(worker.process.pid))
    emit(id, at, Dying{index, worker.process.pid, *status});
}

}  // namespace regroup
