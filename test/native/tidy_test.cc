#include "core/process/tidy.h"

#include "test/native/tap.h"

using namespace regroup;
using namespace regroup::tidy;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1000s};

TimePoint after(std::chrono::milliseconds time) {
  return kStart + time;
}

/// Of a failed round, with the defaults.
Plan failed() {
  return {true, true, after(250ms), after(500ms)};
}
Plan stopped(std::chrono::milliseconds killAt) {
  return {false, true, kStart, after(killAt)};
}

Left orphan(std::chrono::milliseconds at = 0ms) {
  Left left;
  left.orphanedAt = after(at);
  return left;
}

bool is(const Decision& decision, Order order, std::chrono::milliseconds again) {
  return decision.order == order && decision.again == after(again);
}

}  // namespace

TEST(
    "F-F06 who has just lost its parent is left alone for a moment, then terminated, then killed") {
  Left left = orphan();
  CHECK(is(decide(left, failed(), after(0ms)), Order::Nothing, 100ms));
  CHECK(is(decide(left, failed(), after(99ms)), Order::Nothing, 100ms));
  CHECK(is(decide(left, failed(), after(100ms)), Order::Term, 500ms));
  left.wasTermed = true;
  CHECK(is(decide(left, failed(), after(101ms)), Order::Nothing, 500ms));
  CHECK(is(decide(left, failed(), after(500ms)), Order::Kill, 600ms));
}

TEST("F-F06 a loader has nothing to tidy up, and doesn't hold up the next round") {
  Left left = orphan();
  left.isLoader = true;
  left.isBusy = true;
  CHECK(is(decide(left, failed(), after(0ms)), Order::Term, 500ms));

  // After a good end nobody waits.
  Plan well = failed();
  well.loadersAtOnce = false;
  left.isBusy = false;
  CHECK(is(decide(left, well, after(0ms)), Order::Nothing, 100ms));
  CHECK(is(decide(left, well, after(100ms)), Order::Term, 500ms));
}

TEST("F-F06 one that's busy isn't disturbed for half of the time") {
  Left left = orphan();
  left.isBusy = true;
  CHECK(is(decide(left, failed(), after(100ms)), Order::Nothing, 120ms));
  CHECK(is(decide(left, failed(), after(249ms)), Order::Nothing, 269ms));
  CHECK(is(decide(left, failed(), after(250ms)), Order::Term, 500ms));
}

TEST("F-F06 whose parent is still there has its moment when that has gone") {
  const Left child;
  CHECK(is(decide(child, failed(), after(100ms)), Order::Nothing, 600ms));
  CHECK(is(decide(child, failed(), after(599ms)), Order::Nothing, 600ms));
  CHECK(decide(child, failed(), after(600ms)).order == Order::Kill);
  CHECK(is(decide(orphan(450ms), failed(), after(500ms)), Order::Nothing, 550ms));
  CHECK(is(decide(orphan(450ms), failed(), after(550ms)), Order::Kill, 600ms));
}

TEST(
    "F-F06 where all are to be killed at once, who has just lost its parent has its moment still") {
  CHECK(is(decide(orphan(), stopped(0ms), after(0ms)), Order::Nothing, 100ms));
  CHECK(decide(orphan(), stopped(0ms), after(100ms)).order == Order::Kill);
  Left loader = orphan();
  loader.isLoader = true;
  CHECK(decide(loader, stopped(0ms), after(0ms)).order == Order::Kill);
}

TEST("who was signalled with its worker gets nothing but SIGKILL, when the grace period ends") {
  CHECK(is(decide(orphan(), stopped(30s), after(5s)), Order::Nothing, 30s));
  CHECK(decide(orphan(), stopped(30s), after(30s)).order == Order::Kill);
}

TAP_MAIN
