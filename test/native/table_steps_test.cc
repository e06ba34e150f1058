#include <algorithm>
#include <cstring>
#include <set>

#include "test/native/table_harness.h"
#include "test/native/tap.h"

using namespace table_harness;

namespace {

/// A list of `count` names, or of pairs of a name and `value`.
std::string manyNames(int count, const char* value = nullptr) {
  std::string list;
  for (int i = 0; i < count; i++) {
    appendString(list, "key" + std::to_string(i));
    if (value) appendString(list, value);
  }
  return list;
}

constexpr int kMany = 60'000;

}  // namespace

TEST("F-N05 requests about many keys are applied in steps, and give what one step would") {
  World world;
  const std::string pairs = manyNames(kMany, "v");
  const std::string names = manyNames(kMany);
  const auto apply = [&](Op op, const std::string& list) {
    const uint64_t count = op == Op::MultiSet ? 2 * kMany : kMany;
    return world.apply(1, {.op = op, .list = {list, count}});
  };

  CHECK_EQ(apply(Op::MultiSet, pairs), kNothing);
  CHECK(world.steps > 50);
  CHECK_EQ(world.numKeys(2), i64(kMany));
  CHECK_EQ(apply(Op::Check, names), kOk);
  CHECK(world.steps > 50);
  std::string values;
  for (int i = 0; i < kMany; i++) values += vec("v");
  CHECK(apply(Op::MultiGet, names) == values);
  CHECK(world.steps > 50);
  CHECK_EQ(world.apply(1, {.op = Op::ListKeys}).size(), 8 + names.size());
  CHECK(world.steps > 50);
}

TEST("F-N05 a list of up to 1,024 names is one step") {
  World world;
  const std::string pairs = manyNames(1024, "v");
  CHECK_EQ(world.apply(1, {.op = Op::MultiSet, .list = {pairs, 2048}}), kNothing);
  CHECK_EQ(world.steps, 1);
  const std::string names = manyNames(1024);
  for (const Op op : {Op::Check, Op::MultiGet, Op::Wait}) {
    (void)world.apply(1, {.op = op, .list = {names, 1024}});
    CHECK_EQ(world.steps, 1);
  }
}

TEST(
    "F-N05 between the steps of a MULTI_SET others see its first pairs, and may write what's "
    "next") {
  World world;
  const std::string pairs = manyNames(kMany, "many");
  const Request request{.op = Op::MultiSet, .list = {pairs, 2 * kMany}};
  Reply reply;
  REQUIRE(std::holds_alternative<Table::More>(world.step(1, request, reply)));

  CHECK_EQ(world.get(2, "key0"), vec("many"));
  CHECK_EQ(world.get(2, "key59999"), vec(""));
  (void)world.set(2, "key0", "mine");
  (void)world.set(2, "key59999", "mine");
  while (std::holds_alternative<Table::More>(world.step(1, request, reply))) continue;

  CHECK_EQ(world.get(2, "key0"), vec("mine"));
  CHECK_EQ(world.get(2, "key59999"), vec("many"));
}

TEST("F-N05 what a MULTI_SET will need is kept for it until it's through") {
  const std::string pairs = manyNames(kMany, "v");
  World world({.keys = kMany + 10});
  const Request request{.op = Op::MultiSet, .list = {pairs, 2 * kMany}};
  Reply reply;
  REQUIRE(std::holds_alternative<Table::More>(world.step(1, request, reply)));

  for (int i = 0; i < 10; i++) CHECK_EQ(world.set(2, "other" + std::to_string(i), ""), kNothing);
  CHECK_EQ(world.set(2, "one too many", ""), "close");
  while (std::holds_alternative<Table::More>(world.step(1, request, reply))) continue;
  CHECK_EQ(world.numKeys(2), i64(kMany + 10));

  // Of one that's given up, nothing stays reserved.
  World other({.keys = kMany + 10});
  REQUIRE(std::holds_alternative<Table::More>(other.step(1, request, reply)));
  other.disconnect(1);
  CHECK_EQ(other.list(Op::MultiSet, 2, {"a", "1"}), kNothing);
  const std::string fewer = manyNames(kMany - 5000, "v");
  CHECK_EQ(other.apply(2, {.op = Op::MultiSet, .list = {fewer, 2 * (kMany - 5000)}}), kNothing);
}

TEST("F-N05 LIST_KEYS in steps gives each key once that was there all the time") {
  World world;
  const std::string pairs = manyNames(kMany, "v");
  (void)world.apply(1, {.op = Op::MultiSet, .list = {pairs, 2 * kMany}});
  Reply reply;
  REQUIRE(std::holds_alternative<Table::More>(world.step(1, {.op = Op::ListKeys}, reply)));
  for (int i = 0; i < 1000; i++) {
    (void)world.remove(2, "key" + std::to_string(i));
    (void)world.set(2, "new" + std::to_string(i), "");
  }
  while (std::holds_alternative<Table::More>(world.step(1, {.op = Op::ListKeys}, reply))) continue;

  const std::string bytes = reply.flat();
  int64_t count;
  std::memcpy(&count, bytes.data(), sizeof count);
  const Strings list(std::string_view(bytes).substr(8), static_cast<uint64_t>(count));
  std::set<std::string_view> listed;
  int stayed = 0;
  for (const std::string_view key : list) {
    CHECK(listed.insert(key).second);
    stayed += key.starts_with("key") && std::stoi(std::string(key.substr(3))) >= 1000;
  }
  CHECK_EQ(stayed, kMany - 1000);
}

TEST("F-N05 names that are only waited for cost one slot, and LIST_KEYS nothing") {
  World world;
  const std::string names = manyNames(kMany);
  CHECK_EQ(world.apply(1, {.op = Op::Wait, .list = {names, kMany}}), kNothing);
  CHECK(world.table.bytes() < names.size() + 1000);

  CHECK_EQ(world.apply(2, {.op = Op::ListKeys}), i64(0));
  CHECK_EQ(world.steps, 1);
}

TEST("F-N05 T-044 a wait for very many names ends when all are there") {
  World world;
  const std::string names = manyNames(kMany);
  CHECK_EQ(world.apply(1, {.op = Op::Wait, .list = {names, kMany}}), kNothing);
  for (int i = 0; i < kMany; i += 2) (void)world.set(2, "key" + std::to_string(i), "v");
  for (int i = 1; i < kMany - 1; i += 2) (void)world.set(2, "key" + std::to_string(i), "v");
  CHECK_EQ(world.released(), "");
  (void)world.remove(2, "key7");
  (void)world.set(2, "key59999", "v");
  CHECK_EQ(world.released(), "");
  (void)world.set(2, "key7", "v");
  CHECK_EQ(world.released(), "1 ");
  CHECK_EQ(world.table.waiters(), 0);

  CHECK_EQ(world.apply(1, {.op = Op::Wait, .list = {names, kMany}}), kNothing);
  CHECK_EQ(world.released(), "1 ");
}

TEST("F-N05 a key that's named a million times in a WAIT is waited for once") {
  World world;
  std::string names;
  for (int i = 0; i < 1'000'000; i++) appendString(names, "k");
  CHECK_EQ(world.apply(1, {.op = Op::Wait, .list = {names, 1'000'000}}), kNothing);
  Reply reply;
  (void)world.step(2, {.op = Op::Set, .key = "k", .value = "v"}, reply);

  // One look finds that it's due; looking for the others is put off.
  CHECK(world.table.advance(1));
  CHECK_EQ(world.table.released().size(), 0u);
  world.release();
  CHECK_EQ(world.released(), "1 ");
}

TEST("F-N05 a SET costs the same however many it releases, and they're told a few at a time") {
  World world;
  for (int client = 1; client <= 1000; client++) CHECK_EQ(world.wait(client, {"k"}), kNothing);
  Reply reply;
  (void)world.step(0, {.op = Op::Set, .key = "k", .value = "v"}, reply);
  // It was there when they waited, so they're released although it goes at once.
  (void)world.step(0, {.op = Op::DeleteKey, .key = "k"}, reply);

  CHECK(world.table.advance(10));
  CHECK_EQ(world.table.released().size(), 10u);
  CHECK_EQ(world.table.waiters(), 990);
  world.disconnect(500);  // due, and gone
  CHECK_EQ(world.cancel(501), kCancelled);
  world.release();
  const std::string released = world.released();
  CHECK_EQ(std::count(released.begin(), released.end(), ' '), 988);
  CHECK_EQ(world.table.bytes(), 0);
}

TEST("F-N05 large values are stored in steps, and are there as a whole or not at all") {
  World world;
  const std::string large(10 << 20, 'x');
  const std::string larger(12 << 20, 'y');
  for (const auto& request : {Request{.op = Op::Set, .key = "k", .value = large},
                              Request{.op = Op::Append, .key = "a", .value = large},
                              Request{.op = Op::QueuePush, .key = "q", .value = large}}) {
    Reply reply;
    CHECK(std::holds_alternative<Table::More>(world.step(1, request, reply)));
    CHECK_EQ(world.get(2, "k").size() + world.get(2, "a").size(),
             request.op == Op::Set ? 16u : 16 + large.size() * (request.op == Op::Append ? 1 : 2));
    while (std::holds_alternative<Table::More>(world.step(1, request, reply))) continue;
  }
  CHECK(world.get(1, "k") == vec(large));
  CHECK_EQ(world.append(1, "a", larger), kNothing);
  CHECK(world.steps > 10);
  CHECK(world.get(1, "a") == vec(large + larger));
  CHECK(world.pop(1, "q") == i64(1) + vec(large));

  CHECK(world.compareSet(1, "k", larger, "new") == vec(large));
  CHECK(world.compareSet(1, "k", large, larger) == vec(larger));
  CHECK(world.steps > 10);
  CHECK(world.get(2, "k") == vec(larger));
  CHECK(world.compareSet(1, "missing", large, "new") == vec(large));
  CHECK_EQ(world.check(1, {"missing"}), kNotReady);

  for (const char* key : {"k", "a"}) CHECK_EQ(world.remove(1, key), i64(1));
  CHECK_EQ(world.table.bytes(), 0);
}

TEST("F-N05 a COMPARE_SET begins anew if somebody writes between its steps") {
  World world;
  const std::string expected(10 << 20, 'x');
  const std::string desired(10 << 20, 'y');
  (void)world.set(1, "k", expected);
  const Request request{.op = Op::CompareSet, .key = "k", .value = desired, .expected = expected};
  Reply reply;
  for (int i = 0; i < 60; i++)
    REQUIRE(std::holds_alternative<Table::More>(world.step(1, request, reply)));
  (void)world.set(2, "k", "other");

  while (std::holds_alternative<Table::More>(world.step(1, request, reply))) continue;

  CHECK_EQ(reply.flat(), vec("other"));
  CHECK_EQ(world.get(1, "k"), vec("other"));
}

TEST("F-N07 no value grows beyond what a reply may have") {
  World world({.replyBytes = 1000});
  for (int i = 0; i < 9; i++) CHECK_EQ(world.append(1, "k", std::string(110, 'x')), kNothing);
  CHECK_EQ(world.append(1, "k", std::string(110, 'x')), "close");
  CHECK_EQ(world.lastRefusal, "value too large to be read again: 1108, max: 1000");
  CHECK_EQ(world.get(1, "k").size(), 8 + 990);

  (void)world.set(1, "large", std::string(1000, 'x'));
  CHECK_EQ(world.get(1, "large"), "close");
  CHECK_EQ(world.lastRefusal, "reply too large: 1008, max: 1000");
  CHECK_EQ(world.compareSet(1, "large", "x", "y"), "close");
  (void)world.push(1, "q", std::string(1000, 'x'));
  CHECK_EQ(world.pop(1, "q"), "close");
  CHECK_EQ(world.queueLen(1, "q"), i64(1));
}

TAP_MAIN
