#include "core/store/hot_keys.h"

#include "test/native/tap.h"

using regroup::store::HotKey;
using regroup::store::HotKeys;

namespace {

std::vector<std::string> names(const std::vector<HotKey>& keys) {
  std::vector<std::string> names;
  for (const HotKey& each : keys) names.push_back(each.key);
  return names;
}

}  // namespace

TEST("T-106 the keys that are asked for most come first, with about their requests") {
  HotKeys keys;
  for (int i = 0; i < 100'000; i++) {
    keys.note("most");
    if (i % 2 == 0) keys.note("half");
    if (i % 10 == 0) keys.note("tenth");
  }

  const auto top = keys.top();
  CHECK_EQ(names(top), (std::vector<std::string>{"most", "half", "tenth"}));
  CHECK(top[0].requests > 90'000 && top[0].requests < 110'000);
  CHECK(top[1].requests > 45'000 && top[1].requests < 55'000);
}

TEST("T-106 a pattern in the requests hides no key") {
  HotKeys keys;
  for (int i = 0; i < 100'000; i++) keys.note(i % 16 == 0 ? "each sixteenth" : "others");

  CHECK_EQ(names(keys.top()), (std::vector<std::string>{"others", "each sixteenth"}));
  CHECK(keys.top()[1].requests > 5'000 && keys.top()[1].requests < 7'500);
}

TEST("T-106 a hot key is found among many that are asked for once") {
  HotKeys keys;
  for (int i = 0; i < 100'000; i++) {
    keys.note("once/" + std::to_string(i));
    if (i % 4 == 0) keys.note("hot");
  }

  REQUIRE(!keys.top().empty());
  CHECK_EQ(keys.top()[0].key, std::string("hot"));
  CHECK(keys.top()[0].requests <= 30'000);
}

TEST("T-106 requests about no key, and very long keys, aren't counted") {
  HotKeys keys;
  const std::string huge(HotKeys::kMaxKeyBytes + 1, 'k');
  for (int i = 0; i < 10'000; i++) {
    keys.note("");
    keys.note(huge);
  }

  CHECK(keys.top().empty());
}

TAP_MAIN
