#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace regroup {

/// Children of this process that its host starts and waits for, such as Node's. The guardian knows
/// each by a number of no group, and nobody's status is taken while there's one: an orphan's zombie
/// looks like a guest's.
///
/// Owner: Supervisor. Thread: supervisor.
class Guests {
 public:
  struct Guest {
    uint64_t id;
    std::string cookie;
  };

  const Guest& begin(std::string cookie) {
    return guests_.emplace_back(Guest{next_--, std::move(cookie)});
  }

  /// Its number. Nothing: there's no guest of that cookie.
  std::optional<uint64_t> end(const std::string& cookie) {
    const auto guest = std::find_if(guests_.begin(), guests_.end(),
                                    [&](const Guest& each) { return each.cookie == cookie; });
    if (guest == guests_.end()) return std::nullopt;
    const uint64_t id = guest->id;
    guests_.erase(guest);
    return id;
  }

  /// Whether orphans have to wait for the last guest's end.
  bool deferOrphans() { return orphansWait_ = !guests_.empty(); }
  /// Whether the last one has ended, and orphans wait. True once.
  bool takeDeferred() { return guests_.empty() && std::exchange(orphansWait_, false); }

  const std::vector<Guest>& all() const { return guests_; }

 private:
  std::vector<Guest> guests_;
  uint64_t next_ = UINT64_MAX;  // downwards: groups count upwards
  bool orphansWait_ = false;
};

}  // namespace regroup
