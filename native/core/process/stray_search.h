#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/base/features.h"
#include "core/base/loop.h"
#include "core/process/strays.h"

namespace regroup {

/// Searches for strays apart from the supervisor's thread, which waits for nobody.
///
/// Owner: Supervisor. Thread: supervisor.
class StraySearch {
 public:
  using Found = std::function<void(std::vector<Stray>)>;

  StraySearch(std::shared_ptr<Loop> loop, const Features& features)
      : loop_(std::move(loop)), features_(features), ages_(std::make_shared<ProcessAges>()) {}

  /// Before the first worker of a group that no cgroup holds: whoever is there now isn't looked
  /// into later.
  void noteThoseThere() { ages_->note(); }

  /// @param found called on the loop's thread: at once if that's all, else when the search is over,
  /// after a
  ///   second or so at the latest. Not at all once the loop has ended
  void begin(Wanted wanted, Found found);

 private:
  const std::shared_ptr<Loop> loop_;
  const Features features_;
  const std::shared_ptr<ProcessAges> ages_;  // shared with a search that's under way
};

}  // namespace regroup
