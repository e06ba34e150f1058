#include "core/base/loop.h"

#include <fcntl.h>
#include <unistd.h>

#include <thread>

#include "test/native/tap.h"

using namespace regroup;
using namespace std::chrono_literals;

namespace {

/// Counts the bytes that it's told of, and may take another watcher with it.
struct Counter : Loop::Watcher {
  explicit Counter(const Fd& fd) : fd(fd.get()) {}
  int fd;
  int ready = 0;
  std::function<void()> then;
  void onReady(uint32_t) override {
    char byte;
    ready += static_cast<int>(::read(fd, &byte, 1));
    if (then) then();
  }
};

struct Pipe {
  Fd read, write;
  Pipe() {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) == 0) read = Fd(fds[0]), write = Fd(fds[1]);
  }
};

std::unique_ptr<Loop> makeLoop(Loop::Clock clock = monotonicNow) {
  auto loop = Loop::create(clock);
  return std::move(*std::move(loop));
}

}  // namespace

TEST("tasks run in the order in which they were posted") {
  auto loop = makeLoop();
  std::string order;
  loop->post([&] { order += 'a'; });
  loop->post([&] {
    order += 'b';
    loop->post([&] { order += 'd', loop->stop(); });
  });
  loop->post([&] { order += 'c'; });

  loop->run();

  CHECK_EQ(order, "abcd");
}

TEST("tasks posted before stop run, later ones don't") {
  auto loop = makeLoop();
  int ran = 0;
  loop->post([&] { ran++; });
  loop->stop();
  loop->post([&] { ran += 10; });

  loop->run();

  CHECK_EQ(ran, 1);
}

TEST("a loop that lingers misses neither events, tasks nor timers") {
  auto loop = makeLoop();
  loop->lingerFor(1h);
  Pipe pipe;
  Counter counter(pipe.read);
  std::string order;
  counter.then = [&] {
    order += 'e';
    if (counter.ready < 3) return;
    loop->setTimer(loop->now() + 1ms, [&] {
      order += 't';
      loop->post([&] { order += 'p', loop->stop(); });
    });
  };
  CHECK(loop->add(pipe.read.get(), EPOLLIN, &counter));
  CHECK_EQ(::write(pipe.write.get(), "abc", 3), 3);

  loop->run();

  CHECK_EQ(order, "eeetp");
}

TEST("timers fire in the order of their times, cancelled ones don't") {
  auto loop = makeLoop();
  std::string order;
  const TimePoint now = loop->now();
  loop->setTimer(now + 3ms, [&] { order += 'c', loop->stop(); });
  const auto cancelled = loop->setTimer(now + 2ms, [&] { order += 'x'; });
  loop->setTimer(now + 1ms, [&] { order += 'a', loop->cancelTimer(cancelled); });

  loop->run();

  CHECK_EQ(order, "ac");
}

TEST("a timer that sets a timer for now doesn't keep descriptors waiting") {
  auto loop = makeLoop();
  Pipe pipe;
  Counter counter(pipe.read);
  counter.then = [&] { loop->stop(); };
  REQUIRE(loop->add(pipe.read.get(), EPOLLIN, &counter));
  (void)!::write(pipe.write.get(), "x", 1);
  std::function<void()> again = [&] { loop->setTimer(loop->now(), again); };
  again();

  loop->run();

  CHECK_EQ(counter.ready, 1);
}

TEST("a watcher removed by another in the same batch isn't called") {
  auto loop = makeLoop();
  Pipe one, two;
  Counter first(one.read), second(two.read);
  REQUIRE(loop->add(one.read.get(), EPOLLIN, &first));
  REQUIRE(loop->add(two.read.get(), EPOLLIN, &second));
  first.then = [&] { loop->remove(two.read.get(), &second), loop->stop(); };
  second.then = [&] { loop->remove(one.read.get(), &first), loop->stop(); };
  (void)!::write(one.write.get(), "x", 1);
  (void)!::write(two.write.get(), "x", 1);

  loop->run();

  CHECK_EQ(first.ready + second.ready, 1);
}

TEST("another thread wakes a sleeping loop") {
  auto loop = makeLoop();
  std::thread other([&] { loop->post([&] { loop->stop(); }); });

  loop->run();
  other.join();

  CHECK(true);
}

TAP_MAIN
