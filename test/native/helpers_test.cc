#include "core/base/helpers.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "test/native/support.h"
#include "test/native/tap.h"

using namespace support;

namespace {

std::shared_ptr<Helpers> newHelpers() {
  return std::make_shared<Helpers>();
}

/// A task that waits until it's let go, like a call on a dead disk.
struct Stuck {
  std::shared_ptr<Pipe> pipe = std::make_shared<Pipe>(std::move(*makePipe()));

  Helpers::Task task() {
    return [pipe = pipe] {
      char byte;
      (void)!::read(pipe->read.get(), &byte, 1);
      return false;
    };
  }
  void letGo() { (void)!::write(pipe->write.get(), "x", 1); }
};

/// Tells how often it was rung.
struct Bell {
  std::mutex mutex;
  std::condition_variable changed;
  int rung = 0;

  void ring() {
    std::lock_guard lock(mutex);
    rung++;
    changed.notify_all();
  }
  void await(int times) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return rung >= times; });
  }
};

}  // namespace

TEST("the end closes what tasks own, and leaves no descriptor") {
  const size_t before = openDescriptors();
  {
    auto helpers = newHelpers();
    for (int i = 0; i < 10; i++) {
      auto owned = std::make_shared<Pipe>(std::move(*makePipe()));
      helpers->post([owned = std::move(owned)] { return false; });
    }
  }

  CHECK_EQ(openDescriptors(), before);
}

TEST("tasks run in their order, and again while they want to") {
  auto helpers = newHelpers();
  std::vector<int> order;
  Bell bell;
  int left = 3;

  helpers->post([&] {
    order.push_back(left);
    return --left > 0;
  });
  bell.await(0);
  helpers.reset();

  CHECK(order == (std::vector<int>{3, 2, 1}));
}

TEST("F-N02: tasks that never return cost the others a moment, and no more than a thread each") {
  auto helpers = newHelpers();
  std::vector<Stuck> stuck(10);
  for (Stuck& each : stuck) helpers->post(each.task());
  Bell bell;

  for (int i = 0; i < 100; i++) {
    helpers->post([&] {
      bell.ring();
      return false;
    });
  }

  bell.await(100);
  for (Stuck& each : stuck) each.letGo();
}

TEST("F-N02: the end waits for what was posted, and for nobody who is stuck") {
  auto helpers = newHelpers();
  Stuck stuck;
  helpers->post(stuck.task());
  std::atomic<int> ran{0};
  for (int i = 0; i < 10; i++) {
    helpers->post([&] {
      ran++;
      return false;
    });
  }

  helpers.reset();  // the point: it returns

  CHECK_EQ(ran.load(), 10);
  stuck.letGo();
}

TAP_MAIN
