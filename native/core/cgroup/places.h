#pragma once

#include <string>
#include <string_view>

namespace regroup {

/// The folder of our own cgroup in each hierarchy; empty where there's none, or none that we see.
///
/// A machine may have version 2 with all controllers, version 1 with a hierarchy per controller, or
/// both side by side ("hybrid", version 2 without controllers), so nothing is concluded from paths.
struct CgroupPlaces {
  std::string unified;  // version 2
  std::string freezer;  // version 1, as are the others
  std::string memory;
  std::string pids;
  std::string cpu;
};

/// @param mountInfo /proc/self/mountinfo
/// @param selfCgroup /proc/self/cgroup
CgroupPlaces parseCgroupPlaces(std::string_view mountInfo, std::string_view selfCgroup);

/// Of this process, now.
CgroupPlaces findCgroupPlaces();

}  // namespace regroup
