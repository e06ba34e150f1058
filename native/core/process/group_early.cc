#include <algorithm>

#include "core/process/early_status.h"
#include "core/process/supervisor_impl.h"

namespace regroup {

namespace {

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

}  // namespace

/// A hint can be done without: where there's no memory for it, there's none.
void Supervisor::Impl::prepareEarly(Group& group, GroupPlan& plan) {
  if (options_.earlyLibrary.empty() || plan.workers.empty()) return;
  auto watch = EarlyWatch::create(plan.workers.size());
  if (!watch) return;
  group.early = *std::move(watch);
  for (size_t i = 0; i < plan.workers.size(); i++) {
    std::vector<std::string>& env = plan.workers[i].command.env;
    preload(env, options_.earlyLibrary);
    env.push_back(group.early->variable(i));
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
