#include "core/base/local_time.h"

#include <stdlib.h>

#include <cerrno>
#include <limits>

#include "test/native/tap.h"

using namespace regroup;

namespace {

/// On 1 July 2026, and on 1 January, at noon UTC.
constexpr int64_t kSummer = 1'782'907'200;
constexpr int64_t kWinter = 1'767'268'800;

long offsetIn(const char* zone, int64_t moment) {
  ::setenv("TZ", zone, 1);
  auto offset = utcOffset(moment);
  CHECK(offset);
  return offset ? *offset : -1;
}

}  // namespace

TEST("F-H11: zones that TZ spells out are local time, with or without summer") {
  CHECK_EQ(offsetIn("<+0530>-5:30", kSummer), 19'800);
  CHECK_EQ(offsetIn("IST-5:30", kWinter), 19'800);
  CHECK_EQ(offsetIn("EST5EDT,M3.2.0,M11.1.0", kSummer), -14'400);
  CHECK_EQ(offsetIn("EST5EDT,M3.2.0,M11.1.0", kWinter), -18'000);
  CHECK_EQ(offsetIn("UTC", kSummer), 0);
}

TEST("a moment that no calendar has is an error") {
  auto offset = utcOffset(std::numeric_limits<int64_t>::max());

  CHECK(!offset);
  if (!offset) CHECK_EQ(offset.error().code, EOVERFLOW);
}

TAP_MAIN
