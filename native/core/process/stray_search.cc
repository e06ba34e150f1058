#include "core/process/stray_search.h"

#include <sys/prctl.h>

#include <utility>

#include "core/base/thread.h"

namespace regroup {

void StraySearch::begin(Wanted wanted, Found found) {
  // The usual end: then it takes no thread.
  if (!wanted.cgroup.empty() && strangersIn(wanted.cgroup, wanted.leaders).empty())
    return found({});

  auto search = [wanted, found, loop = loop_, features = features_, ages = ages_] {
    (void)::prctl(PR_SET_NAME, "regroup-search");
    // Shared only because a task must be copyable.
    auto strays = std::make_shared<std::vector<Stray>>(findStrays(wanted, features, *ages));
    loop->post([found, strays] { found(std::move(*strays)); });
  };
  auto thread = Thread::start(std::move(search));
  if (!thread) return found(findStraysAtOnce(wanted, features_));
  // It ends by itself, and holds nothing of ours but what it shares.
  thread->leave();
}

}  // namespace regroup
