#include "test/native/lane_harness.h"
#include "test/native/tap.h"

using namespace lane_harness;

TEST("a client at shared memory reads what it wrote, and what others wrote") {
  World world;
  REQUIRE(world.ok());
  LaneClient one(world);
  LaneClient two(world);
  REQUIRE(one.answer == REGROUP_SHM_OK);
  REQUIRE(two.answer == REGROUP_SHM_OK);

  CHECK_EQ(one.set("key", "value"), REGROUP_SHM_OK);
  CHECK(one.get("key") == (Got{REGROUP_SHM_OK, "value"}));
  CHECK(two.get("key") == (Got{REGROUP_SHM_OK, "value"}));
  CHECK_EQ(two.add("count", 2), 2);
  CHECK_EQ(one.add("count", 3), 5);
  CHECK(two.get("count") == (Got{REGROUP_SHM_OK, "5"}));
  CHECK_EQ(world.stats().lanes, 2u);
}
TAP_MAIN
