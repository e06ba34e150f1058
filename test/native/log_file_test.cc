#include "core/output/log_file.h"

#include <sys/mount.h>

#include <algorithm>
#include <future>
#include <thread>

#include "test/native/support.h"
#include "test/native/tap.h"

using namespace support;
using namespace std::chrono_literals;

namespace {

std::string contents(const std::string& path) {
  auto bytes = readFile(path.c_str(), 64 << 20);
  return bytes ? *std::move(bytes) : std::string();
}

std::string numbered(size_t atLeastBytes) {
  std::string all;
  for (int i = 0; all.size() < atLeastBytes; i++) all += "line " + std::to_string(i) + "\n";
  return all;
}

/// A file, filled and read on its loop's thread.
class Bench {
 public:
  explicit Bench(const std::string& path) : thread_([this] { loop_->run(); }) {
    auto opened = openLog(path);
    call([&] {
      file_ = std::make_unique<LogFile>(loop_, helpers_, blocks_, *std::move(opened),
                                        [this] { onChange(); });
    });
  }
  ~Bench() {
    call([this] { file_.reset(); });
    loop_->stop();
    thread_.join();
  }

  /// On the loop's thread, to its end.
  void call(std::function<void()> body) {
    std::promise<void> done;
    loop_->post([&] {
      body();
      done.set_value();
    });
    done.get_future().wait();
  }

  void append(std::string_view bytes) {
    while (!bytes.empty()) {
      size_t taken = 0;
      call([&] { taken = file_->append(bytes); });
      bytes.remove_prefix(taken);
      if (taken == 0) settle();
    }
  }

  /// Returns when it holds; it's looked at after each progress.
  void await(std::function<bool()> holds) {
    std::promise<void> done;
    call([&] {
      check_ = [&, holds] {
        file_->tellProgress();
        if (!holds()) return;
        check_ = nullptr;
        done.set_value();
      };
      onChange();
    });
    done.get_future().wait();
  }
  void settle() {
    await([this] { return file_->settled(); });
  }

  /// What can be read until it has caught up.
  std::string rereadAll() {
    std::string all;
    bool reads = false;
    await([&] {
      if (reads) return false;
      if (file_->caughtUp()) return true;
      reads = true;
      file_->reread(100'000, [&](std::string_view bytes) {
        all += bytes;
        reads = false;
        onChange();
      });
      return false;
    });
    return all;
  }

  LogFile& file() { return *file_; }

 private:
  void onChange() {
    if (const auto check = check_) check();
  }

  const std::shared_ptr<Loop> loop_ = std::move(*Loop::create());
  const std::shared_ptr<Helpers> helpers_ = std::make_shared<Helpers>();
  const std::shared_ptr<Blocks> blocks_ = std::make_shared<Blocks>();
  std::unique_ptr<LogFile> file_;
  std::function<void()> check_;
  std::thread thread_;
};

}  // namespace

TEST("a file gets what it's given, in pieces of any size, behind what it had") {
  TempDir folder;
  const std::string path = folder.file("log");
  writeFile(path, "before\n");
  const std::string text = numbered(3 << 20);
  {
    Bench bench(path);
    for (size_t at = 0, size = 1; at < text.size(); at += size, size = size * 3 + 1)
      bench.append(std::string_view(text).substr(at, size));
    bench.settle();

    CHECK_EQ(bench.file().accepted(), text.size());
  }
  CHECK(contents(path) == "before\n" + text);
}

TEST("F-N02: a file that takes nothing takes a bounded number of bytes, and can be left at once") {
  TempDir folder;
  const std::string path = folder.file("fifo");
  (void)::mkfifo(path.c_str(), 0600);
  Fd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  const std::string block(kBlockBytes, '\n');
  {
    Bench bench(path);
    size_t taken = 0;
    for (size_t more = 1; more > 0; taken += more)
      bench.call([&] { more = bench.file().append(block); });

    CHECK_EQ(taken, kMaxFileBlocks * kBlockBytes);
    CHECK(!bench.file().settled());
    CHECK(bench.file().waitingLines() > taken / 2);
    CHECK(!bench.file().rereadable());
  }
  reader.reset();  // frees the helper
}

TEST("many files that take nothing have little memory together") {
  TempDir folder;
  const std::string path = folder.file("fifo");
  (void)::mkfifo(path.c_str(), 0600);
  Fd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  Blocks blocks;
  std::vector<Blocks::Block> taken;
  while (auto block = blocks.take(false)) taken.push_back(std::move(block));

  CHECK_EQ(taken.size(), kMaxBlocks);
  CHECK(blocks.take(true) != nullptr);
}

TEST("a write that fails loses its bytes, and is told once") {
  Bench bench("/dev/full");
  bench.append("lost\n");
  bench.settle();

  auto error = bench.file().takeError();
  REQUIRE(error);
  CHECK_EQ(error->code, ENOSPC);
  bench.append("lost as well\n");
  bench.settle();
  CHECK(!bench.file().takeError());
  CHECK(!bench.file().rereadable());
}

TEST("F-H2: a file is read again from a mark on, while it grows") {
  TempDir folder;
  const std::string path = folder.file("log");
  writeFile(path, "old\n");
  const std::string text = numbered(2 << 20);
  Bench bench(path);
  for (const size_t at : {size_t{0}, size_t{1}, text.size() / 2, text.size()}) {
    const uint64_t before = bench.file().accepted();
    bench.call([&] { bench.file().mark(before + at); });
    bench.append(text);
    std::string again = bench.rereadAll();
    bench.append("more\n");
    again += bench.rereadAll();
    bench.call([&] { bench.file().unmark(); });

    CHECK(again == text.substr(at) + "more\n");
  }
}

TEST("F-H2: a file that was moved away is read all the same") {
  TempDir folder;
  const std::string path = folder.file("log");
  Bench bench(path);
  bench.call([&] { bench.file().mark(0); });
  bench.append("one\n");
  bench.settle();
  CHECK_EQ(::rename(path.c_str(), folder.file("log.1").c_str()), 0);
  bench.append("two\n");

  CHECK_EQ(bench.rereadAll(), "one\ntwo\n");
}

TEST("F-H2: of a file that somebody has truncated, what was written since is read") {
  TempDir folder;
  const std::string path = folder.file("log");
  Bench bench(path);
  bench.call([&] { bench.file().mark(0); });
  bench.append(numbered(1000));
  bench.settle();
  CHECK_EQ(::truncate(path.c_str(), 0), 0);
  bench.append("since\n");
  bench.settle();

  CHECK_EQ(bench.rereadAll(), "since\n");
}

TEST("F-H2: a file that nothing can be read from any more ends the reading") {
  TempDir folder;
  const std::string path = folder.file("log");
  Bench bench(path);
  bench.call([&] { bench.file().mark(0); });
  bench.append("gone\n");
  bench.settle();
  CHECK_EQ(::truncate(path.c_str(), 0), 0);

  CHECK_EQ(bench.rereadAll(), "");
}

TAP_MAIN
