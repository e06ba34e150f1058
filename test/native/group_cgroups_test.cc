#include "core/cgroup/group_cgroups.h"

#include <unistd.h>

#include "test/native/support.h"
#include "test/native/tap.h"

using namespace regroup;
using namespace support;

namespace {

/// What was announced, and whether it was there by then.
struct Announced {
  std::vector<std::string> folders;
  bool wasThere = false;

  GroupCgroups::Announce listener() {
    return [this](const std::string& folder) {
      wasThere = wasThere || ::access(folder.c_str(), F_OK) == 0;
      folders.push_back(folder);
    };
  }
};

std::string cookie(const char* name) {
  return "test-" + std::to_string(::getpid()) + "-" + name;
}

}  // namespace

TEST("where none can be made each place is tried, and the first one's refusal is told") {
  const TempDir temp;
  CgroupPlaces places;
  places.unified = temp.file("no/unified");
  places.freezer = temp.file("no/freezer");
  GroupCgroups cgroups;
  Announced announced;

  CHECK(!cgroups.open(places, "cookie", announced.listener()));

  CHECK_EQ(announced.folders.size(), 2u);
  CHECK_EQ(cgroups.refusal().path, places.unified + "/regroup-cookie");
  CHECK_EQ(cgroups.refusal().error.code, ENOENT);
  CHECK(cgroups.own() == nullptr);
  CHECK(!cgroups.isHeld());
  CHECK(cgroups.folders().empty());
}

TEST("where nothing is mounted, that is said") {
  GroupCgroups cgroups;
  Announced announced;

  CHECK(!cgroups.open({}, "cookie", announced.listener()));

  CHECK(announced.folders.empty());
  CHECK_EQ(cgroups.refusal().path, "");
}

TEST("a group is held by its own until a worker is outside, and its folder was announced before") {
  const CgroupPlaces places = CgroupHome::ofThisProcess().places();
  GroupCgroups cgroups;
  Announced announced;
  const std::string name = cookie("held");
  if (!cgroups.open(places, name, announced.listener()))
    return tap::skip("needs a place where cgroups may be made");

  CHECK(!announced.wasThere);
  CHECK(cgroups.isHeld());
  CHECK_EQ(cgroups.folders().size(), 1u);
  CHECK_EQ(cgroups.folders()[0], announced.folders.back());
  CHECK(cgroups.noteOutside());
  CHECK(!cgroups.isHeld());
  CHECK(!cgroups.noteOutside());
  CHECK(removeCgroup(cgroups.folders()[0]));
}

TAP_MAIN
