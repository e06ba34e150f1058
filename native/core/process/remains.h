#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/base/features.h"
#include "core/base/loop.h"
#include "core/process/guardian.h"
#include "core/process/strays.h"

namespace regroup {

/// What groups that have ended leave: cgroups that can't be removed yet, since somebody in them
/// lingers, or is stuck in the kernel.
///
/// Invariant: the guardian, if there's one, knows each. Owner: Supervisor. Thread: supervisor.
class Remains {
 public:
  /// Of one group.
  struct Left {
    uint64_t group;
    std::string cookie;
    std::vector<std::string> folders;
    std::vector<Stray> strays;
    bool isLingering = false;  // one of them, which has some time for that
  };

  /// @param guardian at the moment of a call; null: there's none
  Remains(Loop& loop, const Features& features, std::function<Guardian*()> guardian)
      : loop_(loop), features_(features), guardian_(std::move(guardian)) {}
  ~Remains();
  Remains(const Remains&) = delete;
  Remains& operator=(const Remains&) = delete;

  void add(Left left);
  /// Removes what can be removed by now: somebody has come loose, or it's the end.
  void remove();
  /// The same, and waits for those who are about to go; not longer than that. In the end, when
  /// nobody else sees to them.
  void removeWithin(std::chrono::milliseconds time);
  /// To one that's new.
  void tell(Guardian& guardian) const;
  bool isEmpty() const { return groups_.empty(); }

 private:
  struct Group;
  struct Watch final : Loop::Watcher {
    Remains* owner = nullptr;
    Group* group = nullptr;
    Stray stray;
    void onReady(uint32_t) override { owner->onGone(*this); }
  };
  struct Group {
    uint64_t id;
    std::string cookie;
    std::vector<std::string> folders;
    std::vector<std::unique_ptr<Watch>> strays;
  };

  void removeLater(std::chrono::milliseconds pause);
  void onGone(Watch& watch);
  void endLingering(uint64_t group);

  Loop& loop_;
  const Features features_;
  const std::function<Guardian*()> guardian_;
  std::vector<std::unique_ptr<Group>> groups_;
};

/// Of several cgroups' folders. Whether all are gone.
bool removeCgroups(const std::vector<std::string>& folders);

}  // namespace regroup
