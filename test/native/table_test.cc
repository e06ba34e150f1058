#include <algorithm>

#include "test/native/table_harness.h"
#include "test/native/tap.h"

using namespace table_harness;

TEST("T-016 PING echoes its nonce, also while others wait") {
  World world;
  CHECK_EQ(world.wait(1, {"k"}), kNothing);

  std::string nonce;
  appendU32(nonce, 29159);
  CHECK_EQ(world.apply(2, {.op = Op::Ping, .nonce = 29159}), nonce);
  CHECK(world.at(1).waiting());
}

TEST("T-021 T-022 SET stores and says nothing; GET gives the bytes") {
  World world;
  CHECK_EQ(world.set(1, "k", "v"), kNothing);
  CHECK_EQ(world.get(2, "k"), vec("v"));
  CHECK_EQ(world.set(1, "k", "other"), kNothing);
  CHECK_EQ(world.get(2, "k"), vec("other"));
}

TEST("T-003 NULs, 0xff, empty keys and empty values round-trip") {
  World world;
  const std::string odd("\0\xff\0", 3);
  (void)world.set(1, odd, odd);
  (void)world.set(1, "", "");

  CHECK_EQ(world.get(1, odd), vec(odd));
  CHECK_EQ(world.get(1, ""), vec(""));
  CHECK_EQ(world.check(1, {"", odd}), kOk);
}

TEST("T-023 GET of a missing key gives an empty value") {
  World world;
  CHECK_EQ(world.get(1, "nope"), vec(""));
  CHECK_EQ(world.table.keys(), 0);
}

TEST("T-024 ADD on a missing key starts at 0 and stores decimal text") {
  World world;
  CHECK_EQ(world.add(1, "n", 5), i64(5));
  CHECK_EQ(world.add(1, "n", -7), i64(-2));
  CHECK_EQ(world.get(1, "n"), vec("-2"));
}

TEST("T-025 T-026 T-027 ADD reads the stored text as strtoll does, and wraps") {
  struct {
    std::string_view text;
    int64_t delta;
    std::string reply;
  } const cases[] = {
      {"12abc", 1, i64(13)},
      {" 12", 1, i64(13)},
      {"\t\n\v\f\r -12", 0, i64(-12)},
      {"+7", 0, i64(7)},
      {"007", 0, i64(7)},
      {std::string_view("5\0009", 3), 1, i64(6)},
      {"9223372036854775807", 1, i64(INT64_MIN)},
      {"-9223372036854775808", -1, i64(INT64_MAX)},
      {"", 1, "close"},
      {"abc", 1, "close"},
      {"-", 1, "close"},
      {"- 1", 1, "close"},
      {"+-1", 1, "close"},
      {"   ", 1, "close"},
      {"9223372036854775808", 0, "close"},
      {"-9223372036854775809", 0, "close"},
      {"99999999999999999999", 0, "close"},
      {std::string_view("\0001", 2), 0, "close"},
  };
  for (const auto& one : cases) {
    World world;
    (void)world.set(1, "n", one.text);

    CHECK_EQ(world.add(1, "n", one.delta), one.reply);
    if (one.reply == "close") {
      CHECK_EQ(world.get(1, "n"), vec(one.text));
    }
  }
}

TEST("T-028 ADD 0 gives the value, and creates a missing key as 0") {
  World world;
  CHECK_EQ(world.add(1, "n", 0), i64(0));
  CHECK_EQ(world.get(1, "n"), vec("0"));
}

TEST("T-029 T-030 COMPARE_SET gives the resulting value, or echoes the expectation") {
  World world;
  CHECK_EQ(world.compareSet(1, "a", "", "new"), vec("new"));
  CHECK_EQ(world.compareSet(1, "b", "x", "new"), vec("x"));
  CHECK_EQ(world.check(1, {"b"}), kNotReady);
  CHECK_EQ(world.compareSet(1, "a", "new", "newer"), vec("newer"));
  CHECK_EQ(world.compareSet(1, "a", "new", "never"), vec("newer"));
  CHECK_EQ(world.compareSet(1, "a", "", "never"), vec("newer"));
  (void)world.set(1, "empty", "");
  CHECK_EQ(world.compareSet(1, "empty", "", "filled"), vec("filled"));
  CHECK_EQ(world.get(1, "empty"), vec("filled"));
}

TEST("T-031 CHECK tells whether every key is there") {
  World world;
  (void)world.set(1, "k", "");
  CHECK_EQ(world.check(1, {"k"}), kOk);
  CHECK_EQ(world.check(1, {"k", "nope"}), kNotReady);
  CHECK_EQ(world.check(1, {}), kOk);
}

TEST("T-032 WAIT on present keys, or on none, answers at once") {
  World world;
  (void)world.set(1, "k", "v");
  CHECK_EQ(world.wait(1, {"k"}), kOk);
  CHECK_EQ(world.wait(1, {}), kOk);
  CHECK_EQ(world.table.waiters(), 0);
}

TEST("T-033 a waiter is released once") {
  World world;
  CHECK_EQ(world.wait(1, {"k"}), kNothing);
  (void)world.set(2, "k", "v");
  CHECK_EQ(world.released(), "1 ");
  (void)world.set(2, "k", "w");
  CHECK_EQ(world.released(), "");
}

TEST("T-034 T-035 CANCEL_WAIT answers always, and ends the wait") {
  World world;
  CHECK_EQ(world.cancel(1), kCancelled);
  CHECK_EQ(world.wait(1, {"k"}), kNothing);
  CHECK_EQ(world.cancel(1), kCancelled);
  CHECK_EQ(world.cancel(1), kCancelled);
  (void)world.set(2, "k", "v");
  CHECK_EQ(world.released(), "");
}

TEST("T-036 a wait that was satisfied can still be cancelled: 00, then 01") {
  World world;
  CHECK_EQ(world.wait(1, {"k"}), kNothing);
  (void)world.set(2, "k", "v");
  CHECK_EQ(world.released(), "1 ");
  CHECK_EQ(world.cancel(1), kCancelled);
}

TEST("T-037 T-072 GETNUMKEYS counts init/, but neither queues nor names that are waited for") {
  World world;
  (void)world.add(1, "init/", 1);
  (void)world.set(1, "k", "v");
  (void)world.push(1, "q", "e");
  (void)world.wait(2, {"nope"});
  CHECK_EQ(world.numKeys(1), i64(2));
}

TEST("T-038 DELETE_KEY gives 1 or 0 and leaves queues and waiters") {
  World world;
  (void)world.set(1, "k", "v");
  (void)world.push(1, "q", "e");
  (void)world.wait(2, {"gone"});
  CHECK_EQ(world.remove(1, "k"), i64(1));
  CHECK_EQ(world.remove(1, "k"), i64(0));
  CHECK_EQ(world.remove(1, "q"), i64(0));
  CHECK_EQ(world.queueLen(1, "q"), i64(1));
  CHECK_EQ(world.remove(1, "gone"), i64(0));
  CHECK_EQ(world.released(), "");
  CHECK(world.at(2).waiting());
}

TEST("T-039 APPEND creates, then extends") {
  World world;
  CHECK_EQ(world.append(1, "a", "foo"), kNothing);
  CHECK_EQ(world.append(1, "a", "bar"), kNothing);
  CHECK_EQ(world.get(1, "a"), vec("foobar"));
}

TEST("T-040 MULTI_GET gives the values in order, empty where a key is missing") {
  World world;
  (void)world.set(1, "a", "one");
  (void)world.set(1, "b", "two");
  CHECK_EQ(world.list(Op::MultiGet, 1, {"b", "nope", "a"}), vec("two") + vec("") + vec("one"));
  CHECK_EQ(world.list(Op::MultiGet, 1, {}), kNothing);
}

TEST("T-041 MULTI_SET applies its pairs in order and wakes") {
  World world;
  CHECK_EQ(world.wait(2, {"a", "b"}), kNothing);
  CHECK_EQ(world.list(Op::MultiSet, 1, {"a", "1", "b", "2", "a", "3"}), kNothing);
  CHECK_EQ(world.released(), "2 ");
  CHECK_EQ(world.get(1, "a"), vec("3"));
}

TEST("T-042 a key that is waited for twice needs one write") {
  World world;
  CHECK_EQ(world.wait(1, {"d", "x", "d"}), kNothing);
  (void)world.set(2, "d", "v");
  CHECK_EQ(world.released(), "");
  (void)world.set(2, "x", "v");
  CHECK_EQ(world.released(), "1 ");

  CHECK_EQ(world.wait(1, {"e", "e"}), kNothing);
  CHECK_EQ(world.wait(3, {"e"}), kNothing);
  (void)world.set(2, "e", "v");
  CHECK_EQ(world.released(), "1 3 ");
}

TEST("T-043 every write that creates a key wakes; a failing COMPARE_SET doesn't") {
  World world;
  const auto waits = [&world] { (void)world.wait(1, {"k"}); };
  const auto clears = [&world] { (void)world.remove(3, "k"); };
  waits();
  CHECK_EQ(world.compareSet(2, "k", "x", "new"), vec("x"));
  CHECK_EQ(world.released(), "");
  CHECK(world.at(1).waiting());

  (void)world.set(2, "k", "v");
  CHECK_EQ(world.released(), "1 ");
  clears(), waits();
  (void)world.list(Op::MultiSet, 2, {"k", "v"});
  CHECK_EQ(world.released(), "1 ");
  clears(), waits();
  (void)world.append(2, "k", "v");
  CHECK_EQ(world.released(), "1 ");
  clears(), waits();
  (void)world.add(2, "k", 1);
  CHECK_EQ(world.released(), "1 ");
  clears(), waits();
  (void)world.compareSet(2, "k", "", "v");
  CHECK_EQ(world.released(), "1 ");
}

TEST("T-044 a waiter is released only when all its keys exist at that moment") {
  World world;
  (void)world.set(2, "present", "v");
  CHECK_EQ(world.wait(1, {"m1", "m2", "present"}), kNothing);
  (void)world.set(2, "m1", "v");
  (void)world.remove(2, "m1");
  (void)world.set(2, "m2", "v");
  CHECK_EQ(world.released(), "");
  (void)world.remove(2, "present");
  (void)world.set(2, "m1", "v");
  CHECK_EQ(world.released(), "");
  (void)world.set(2, "present", "v");
  CHECK_EQ(world.released(), "1 ");
}

TEST("T-045 a waiter that's gone is forgotten") {
  World world;
  CHECK_EQ(world.wait(1, {"k", "k", "l"}), kNothing);
  CHECK_EQ(world.wait(2, {"k"}), kNothing);
  world.disconnect(1);
  (void)world.set(3, "k", "v");
  (void)world.set(3, "l", "v");
  CHECK_EQ(world.released(), "2 ");
  CHECK_EQ(world.table.waiters(), 0);
}

TEST("T-046 a new request on a waiting connection cancels its wait first") {
  World world;
  CHECK_EQ(world.wait(1, {"k"}), kNothing);
  CHECK_EQ(world.get(1, "other"), vec(""));
  (void)world.set(2, "k", "v");
  CHECK_EQ(world.released(), "");

  CHECK_EQ(world.wait(1, {"l"}), kNothing);
  CHECK_EQ(world.set(1, "l", "v"), kNothing);
  CHECK_EQ(world.released(), "");

  CHECK_EQ(world.wait(1, {"x"}), kNothing);
  CHECK_EQ(world.wait(1, {"y"}), kNothing);
  (void)world.set(2, "x", "v");
  CHECK_EQ(world.released(), "");
  (void)world.set(2, "y", "v");
  CHECK_EQ(world.released(), "1 ");
}

TEST("T-047 T-051 QUEUE_PUSH wakes the longest-waiting client, once") {
  World world;
  CHECK_EQ(world.wait(1, {"q"}), kNothing);
  CHECK_EQ(world.wait(2, {"q"}), kNothing);
  CHECK_EQ(world.push(3, "q", "e1"), kNothing);
  CHECK_EQ(world.released(), "1 ");

  // Stock leaves client 1 in the queue's list, and wakes it here for another key's sake (§5.3).
  CHECK_EQ(world.wait(1, {"X"}), kNothing);
  CHECK_EQ(world.push(3, "q", "e2"), kNothing);
  CHECK_EQ(world.released(), "2 ");
  CHECK(world.at(1).waiting());
}

TEST("T-048 T-049 T-052 QUEUE_POP gives the length before and the value, or 0") {
  World world;
  CHECK_EQ(world.queueLen(1, "q"), i64(0));
  CHECK_EQ(world.pop(1, "q"), i64(0));
  (void)world.push(1, "q", "e1");
  (void)world.push(1, "q", "");
  CHECK_EQ(world.queueLen(1, "q"), i64(2));
  CHECK_EQ(world.pop(1, "q"), i64(2) + vec("e1"));
  CHECK_EQ(world.pop(2, "q"), i64(1) + vec(""));
  CHECK_EQ(world.pop(1, "q"), i64(0));
  CHECK_EQ(world.queueLen(1, "q"), i64(0));
}

TEST("T-050 a queue is present while it has elements; GET on it is empty") {
  World world;
  (void)world.push(1, "q", "e");
  CHECK_EQ(world.check(1, {"q"}), kOk);
  CHECK_EQ(world.wait(1, {"q"}), kOk);
  CHECK_EQ(world.get(1, "q"), vec(""));
  (void)world.pop(1, "q");
  CHECK_EQ(world.check(1, {"q"}), kNotReady);
  CHECK_EQ(world.wait(1, {"q"}), kNothing);
}

TEST("T-044 T-047 a wait for a queue and a key ends when both are there") {
  World world;
  CHECK_EQ(world.wait(1, {"q", "k"}), kNothing);
  CHECK_EQ(world.wait(2, {"q"}), kNothing);
  (void)world.push(3, "q", "e1");
  CHECK_EQ(world.released(), "2 ");
  (void)world.pop(2, "q");
  (void)world.set(3, "k", "v");
  CHECK_EQ(world.released(), "");
  (void)world.push(3, "q", "e2");
  CHECK_EQ(world.released(), "1 ");
}

TEST("T-053 LIST_KEYS gives every key of the table as it is, and no queue") {
  World world;
  (void)world.add(1, "init/", 1);
  (void)world.push(1, "q", "e");
  (void)world.wait(2, {"nope"});
  CHECK_EQ(world.apply(1, {.op = Op::ListKeys}), i64(1) + vec("init/"));
  (void)world.set(1, "/k", "");
  const std::string keys = world.apply(1, {.op = Op::ListKeys});
  CHECK(keys == i64(2) + vec("init/") + vec("/k") || keys == i64(2) + vec("/k") + vec("init/"));
}

TEST("T-054 a BARRIER's last arrival releases everybody at it") {
  World world;
  CHECK_EQ(world.barrier(1, "b", 3), kNothing);
  CHECK_EQ(world.barrier(2, "b", 3), kNothing);
  CHECK_EQ(world.get(4, "b"), vec("2"));
  CHECK_EQ(world.released(), "");
  CHECK_EQ(world.barrier(3, "b", 3), kOk);
  CHECK_EQ(world.released(), "1 2 ");
  CHECK_EQ(world.get(4, "b"), vec("3"));
}

TEST("T-055 a barrier doesn't reset, and counts who has left") {
  World world;
  CHECK_EQ(world.barrier(1, "b", 2), kNothing);
  CHECK_EQ(world.cancel(1), kCancelled);
  CHECK_EQ(world.barrier(2, "b", 2), kOk);
  CHECK_EQ(world.barrier(3, "b", 2), kOk);

  CHECK_EQ(world.barrier(1, "c", 2), kNothing);
  world.disconnect(1);
  CHECK_EQ(world.barrier(2, "c", 2), kOk);
  CHECK_EQ(world.released(), "");
}

TEST("T-056 a BARRIER of nobody passes; one on text closes the caller") {
  World world;
  CHECK_EQ(world.barrier(1, "a", 0), kOk);
  CHECK_EQ(world.barrier(1, "b", -5), kOk);
  (void)world.set(1, "c", "text");
  CHECK_EQ(world.barrier(1, "c", 1), "close");
  CHECK_EQ(world.get(1, "c"), vec("text"));
}

TEST("T-057 T-043 any write on a barrier's key releases those at it") {
  World world;
  CHECK_EQ(world.barrier(1, "b", 9), kNothing);
  CHECK_EQ(world.barrier(2, "b", 9), kNothing);
  (void)world.set(3, "b", "5");
  CHECK_EQ(world.released(), "1 2 ");
  CHECK_EQ(world.barrier(1, "b", 9), kNothing);
  (void)world.add(3, "b", 1);
  CHECK_EQ(world.released(), "1 ");
}

TEST("T-075 the key of an unfinished barrier exists") {
  World world;
  CHECK_EQ(world.wait(3, {"b"}), kNothing);
  CHECK_EQ(world.barrier(1, "b", 2), kNothing);
  CHECK_EQ(world.released(), "3 ");
  CHECK_EQ(world.wait(2, {"b"}), kOk);
  CHECK_EQ(world.check(2, {"b"}), kOk);
  CHECK(world.at(1).waiting());
}

TEST("a barrier whose key is deleted keeps its waiters, and starts to count anew") {
  World world;
  CHECK_EQ(world.barrier(1, "b", 2), kNothing);
  CHECK_EQ(world.remove(3, "b"), i64(1));
  CHECK_EQ(world.barrier(2, "b", 2), kNothing);
  CHECK_EQ(world.released(), "");
  CHECK_EQ(world.barrier(3, "b", 2), kOk);
  CHECK_EQ(world.released(), "1 2 ");
}

TEST("T-085 a full table refuses writes, changes nothing, and names both numbers") {
  World world({.bytes = 4096});
  const std::string big(8192, 'x');
  CHECK_EQ(world.set(1, "k", big), "close");
  CHECK_EQ(world.lastRefusal.substr(0, 26), "the store is full, bytes: ");
  CHECK(world.lastRefusal.find("max: 4096") != std::string::npos);
  CHECK_EQ(world.append(1, "k", big), "close");
  CHECK_EQ(world.push(1, "k", big), "close");
  CHECK_EQ(world.compareSet(1, "k", "", big), "close");
  CHECK_EQ(world.list(Op::MultiSet, 1, {"a", "1", "k", big}), "close");
  CHECK_EQ(world.table.keys(), 0);
  CHECK_EQ(world.table.bytes(), 0);

  World fewKeys({.keys = 2});
  (void)fewKeys.set(1, "a", "");
  (void)fewKeys.set(1, "b", "");
  CHECK_EQ(fewKeys.set(1, "c", ""), "close");
  CHECK_EQ(fewKeys.lastRefusal, "the store is full, keys: 3, max: 2");
}

TEST("T-085 waiting for many missing keys counts, too") {
  World world({.bytes = 4096});
  std::string keys;
  for (int i = 0; i < 400; i++) appendString(keys, "key" + std::to_string(i));
  CHECK_EQ(world.apply(1, {.op = Op::Wait, .list = {keys, 400}}), "close");
  CHECK_EQ(world.table.bytes(), 0);
}

TEST("T-085 what's dropped isn't counted any more") {
  World world;
  (void)world.set(1, "k", std::string(1000, 'x'));
  (void)world.set(1, "k", "small");
  (void)world.append(1, "k", "er");
  (void)world.add(1, "n", 99);
  (void)world.push(1, "q", "element");
  (void)world.push(1, "k", "element");
  (void)world.wait(2, {"a", "b", "a", "k"});
  (void)world.barrier(3, "barrier", 7);
  CHECK(world.table.bytes() > 0);

  (void)world.cancel(2);
  world.disconnect(3);
  (void)world.pop(1, "q");
  (void)world.pop(1, "k");
  for (const char* key : {"k", "n", "barrier"}) CHECK_EQ(world.remove(1, key), i64(1));
  CHECK_EQ(world.table.bytes(), 0);
  CHECK_EQ(world.table.keys(), 0);
}

TEST("a short request can't ask for a reply without limit") {
  World world({.replyBytes = 1000});
  (void)world.set(1, "k", std::string(400, 'x'));
  CHECK_EQ(world.list(Op::MultiGet, 1, {"k", "k"}).size(), 816);
  CHECK_EQ(world.list(Op::MultiGet, 1, {"k", "k", "k"}), "close");
  CHECK_EQ(world.lastRefusal, "reply too large: 1224, max: 1000");
}

TEST("T-104 a release costs what its waiters cost, however many keys they wait for") {
  // Re-checking all keys of all waiters at each write would take minutes here.
  World world;
  std::string keys;
  for (int i = 0; i < 1000; i++) appendString(keys, "key" + std::to_string(i));
  for (int client = 1; client <= 100; client++)
    CHECK_EQ(world.apply(client, {.op = Op::Wait, .list = {keys, 1000}}), kNothing);
  for (int i = 0; i < 999; i++) (void)world.set(0, "key" + std::to_string(i), "v");
  CHECK_EQ(world.released(), "");
  (void)world.set(0, "key999", "v");
  const std::string released = world.released();
  CHECK_EQ(std::count(released.begin(), released.end(), ' '), 100);
  CHECK_EQ(world.table.waiters(), 0);
}

TEST("a counter's text is looked at for 4,096 bytes, however long it is") {
  World world;
  (void)world.set(1, "n", std::string(4095, ' ') + "7");
  CHECK_EQ(world.add(1, "n", 1), i64(8));
  (void)world.set(1, "n", std::string(4096, ' ') + "7");
  CHECK_EQ(world.add(1, "n", 1), "close");
}

TEST("a table that's dropped bit by bit counts nothing any more") {
  World world;
  (void)world.set(1, "k", "v");
  (void)world.set(1, "large", std::string(5 << 20, 'x'));
  (void)world.push(1, "q", "e");
  (void)world.push(1, "q", std::string(5 << 20, 'x'));
  const uint64_t bytes = world.counts.bytes;

  world.table.retire();
  int steps = 0;
  while (world.table.dismantle()) steps++;

  CHECK(steps > 10);
  CHECK_EQ(uint64_t{world.counts.bytes}, bytes);
}

TAP_MAIN
