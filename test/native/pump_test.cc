#include "core/output/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "core/base/loop.h"
#include "core/base/syscall.h"
#include "core/output/console.h"
#include "core/output/lines.h"
#include "test/native/tap.h"

using namespace regroup;
using namespace std::literals;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
/// More than a console's queue holds, and its pipe.
constexpr size_t kBeyondQueue = size_t{kSanitized ? 6 : 12} << 20;
static_assert(kBeyondQueue > kMaxConsoleQueueBytes + (1 << 20));

struct Folder {
  std::string path;
  std::vector<std::string> files;
  Folder() {
    char name[] = "/tmp/regroup-pump-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Folder() {
    for (const auto& file : files) ::unlink(file.c_str());
    ::rmdir(path.c_str());
  }
  std::string file(const std::string& name) {
    files.push_back(path + "/" + name);
    return files.back();
  }
};

std::string contents(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string all;
  std::string part(1 << 16, '\0');
  for (ssize_t n; (n = ::read(fd.get(), part.data(), part.size())) > 0;) all.append(part, 0, n);
  return all;
}

/// Whether all went out.
bool writeTo(const Fd& fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd.get(), bytes.data(), bytes.size());
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

/// This thread sees EPIPE and takes no SIGPIPE. Not ignored for all: the pump has to do without.
struct NoSigpipe {
  ~NoSigpipe() {
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    const timespec now{};
    ::sigtimedwait(&pipe, nullptr, &now);
  }
  SignalBlock block;
};

/// Numbered lines of various lengths: "RANK NUMBER xxx…\n".
std::string numbered(int rank, size_t atLeastBytes) {
  std::string all;
  for (size_t i = 0; all.size() < atLeastBytes; i++) {
    all += std::to_string(rank) + ' ' + std::to_string(i) + ' ';
    all.append((i * 37 + static_cast<size_t>(rank)) % 150, 'x');
    all += '\n';
  }
  return all;
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// Reads a descriptor to its end, on a thread of its own.
struct Collector {
  explicit Collector(Fd source, size_t readBytes = 1 << 16)
      : fd(std::move(source)), thread([this, readBytes] {
          std::string part(readBytes, '\0');
          for (ssize_t n; (n = ::read(fd.get(), part.data(), part.size())) > 0;) {
            std::lock_guard lock(mutex);
            text.append(part, 0, static_cast<size_t>(n));
            changed.notify_all();
          }
          std::lock_guard lock(mutex);
          ended = true;
          changed.notify_all();
        }) {}
  ~Collector() {
    if (thread.joinable()) thread.join();
  }
  /// The whole text, when the last writer is gone.
  std::string all() {
    thread.join();
    return text;
  }
  /// Returns when the text contains `part`, or can't any more.
  bool sees(const std::string& part) {
    std::unique_lock lock(mutex);
    for (size_t from = 0;;) {
      if (text.find(part, from) != std::string::npos) return true;
      if (ended) return false;
      from = text.size() - std::min(text.size(), part.size());
      changed.wait(lock);
    }
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::string text;
  bool ended = false;
  Fd fd;
  std::thread thread;
};

/// A writer that's late, on a busy machine, isn't taken for a prompt.
Pump::Options unhurried() {
  Pump::Options options;
  options.partialWait = 10min;
  return options;
}

/// A pump with what it tells.
struct Bench {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<OutputTrouble> troubles;
  std::shared_ptr<Pump> pump;

  explicit Bench(int stdoutFd, int stderrFd, Pump::Options options = unhurried()) {
    options.stdoutFd = stdoutFd;
    options.stderrFd = stderrFd;
    pump = std::move(*Pump::start(std::move(options)));
  }

  /// The worker's end of a new stream's pipe.
  Fd add(StreamSinks sinks, StreamId* id) {
    auto pipe = makePipe();
    auto files = Pump::openFiles(sinks);
    *id = *pump->add(std::move(pipe->read), std::move(sinks), std::move(*files),
                     [this](OutputTrouble trouble) {
                       std::lock_guard lock(mutex);
                       troubles.push_back(std::move(trouble));
                       changed.notify_all();
                     });
    return std::move(pipe->write);
  }

  std::vector<std::string> finish(std::vector<StreamId> ids,
                                  std::chrono::milliseconds drain = 10s) {
    std::optional<std::vector<std::string>> result;
    pump->finish(std::move(ids), drain, [&](std::vector<std::string> tails) {
      std::lock_guard lock(mutex);
      result = std::move(tails);
      changed.notify_all();
    });
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return result.has_value(); });
    return std::move(*result);
  }

  /// Lines that the consoles haven't taken.
  uint64_t flush(FlushPatience patience = {std::nullopt, 60s}) {
    std::optional<uint64_t> result;
    startFlush(patience, &result);
    return awaitFlush(&result);
  }
  void startFlush(FlushPatience patience, std::optional<uint64_t>* result) {
    pump->flush(patience, [this, result](uint64_t lines) {
      std::lock_guard lock(mutex);
      *result = lines;
      changed.notify_all();
    });
  }
  bool isFlushed(const std::optional<uint64_t>* result) {
    std::lock_guard lock(mutex);
    return result->has_value();
  }
  uint64_t awaitFlush(const std::optional<uint64_t>* result) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return result->has_value(); });
    return **result;
  }

  std::vector<OutputTrouble> told() {
    std::lock_guard lock(mutex);
    return troubles;
  }
  void awaitTrouble() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !troubles.empty(); });
  }
  uint64_t dropped() {
    uint64_t lines = 0;
    for (const auto& trouble : told()) lines += trouble.droppedLines;
    return lines;
  }
};

/// For consoles that drop soon.
Pump::Options hasty() {
  Pump::Options options = unhurried();
  options.consoleStall = 20ms;
  options.consoleGiveUp = 30ms;
  return options;
}

Fd devNull() {
  return Fd(::open("/dev/null", O_WRONLY | O_CLOEXEC));
}

bool nonBlocking(const Fd& fd) {
  return (::fcntl(fd.get(), F_GETFL) & O_NONBLOCK) != 0;
}

/// One worker says hello and ends without a newline; `console` shows it, and stays blocking.
void checkConsole(const Fd& console, const char* what) {
  {
    Bench bench(console.get(), console.get());
    StreamId id;
    Fd worker = bench.add({.console = 1, .prefix = "[default0]:"}, &id);
    CHECK(writeTo(worker, "hello\nbye"));
    worker.reset();
    bench.finish({id});
    if (!CHECK_EQ(bench.told().size(), 0)) ::printf("# %s\n", what);
  }
  CHECK(!nonBlocking(console));
}

}  // namespace

TEST("eight streams are complete in their files and in whole lines on the console") {
  Folder folder;
  auto console = makePipe();
  Collector shown(std::move(console->read));
  std::vector<std::string> sent;
  std::vector<std::string> paths;
  {
    Bench bench(console->write.get(), console->write.get());
    console->write.reset();
    std::vector<StreamId> ids(8);
    std::vector<std::thread> writers;
    for (int rank = 0; rank < 8; rank++) {
      sent.push_back(numbered(rank, (kSanitized ? 1 : 6) << 20));
      paths.push_back(folder.file(std::to_string(rank)));
    }
    for (int rank = 0; rank < 8; rank++) {
      Fd worker = bench.add({.file = paths[rank],
                             .console = 1 + rank % 2,
                             .prefix = "[" + std::to_string(rank) + "]:",
                             .tailBytes = 100},
                            &ids[rank]);
      writers.emplace_back(
          [worker = std::move(worker), &text = sent[rank]] { CHECK(writeTo(worker, text)); });
    }
    for (auto& writer : writers) writer.join();
    writers.clear();

    const auto tails = bench.finish(ids);
    CHECK_EQ(bench.flush(), 0);

    for (int rank = 0; rank < 8; rank++)
      CHECK_EQ(tails[rank], sent[rank].substr(sent[rank].size() - 100));
    CHECK_EQ(bench.told().size(), 0);
  }
  std::map<int, std::string> byRank;
  for (const std::string& line : split(shown.all())) {
    REQUIRE(line.size() > 4 && line[0] == '[' && line.substr(2, 2) == "]:");
    byRank[line[1] - '0'] += line.substr(4) + "\n";
  }
  for (int rank = 0; rank < 8; rank++) {
    CHECK(contents(paths[rank]) == sent[rank]);
    CHECK(byRank[rank] == sent[rank]);
  }
}

TEST("a slow console slows down a worker without a file, and loses nothing") {
  auto console = makePipe();
  const std::string text = numbered(0, kBeyondQueue);
  Pump::Options patient = unhurried();
  patient.consoleStall = 60s;
  Bench* bench = new Bench(console->write.get(), console->write.get(), patient);
  console->write.reset();
  StreamId id;
  Fd worker = bench->add({.console = 1}, &id);
  std::thread writer([&] {
    CHECK(writeTo(worker, text));
    worker.reset();
  });
  Collector shown(std::move(console->read), 1000);
  writer.join();

  bench->finish({id});

  CHECK_EQ(bench->flush(), 0);
  CHECK_EQ(bench->told().size(), 0);
  delete bench;
  CHECK(shown.all() == text);
}

TEST("without a file, lines are counted while the console's reader stops, until it reads again") {
  auto console = makePipe();
  const std::string texts[] = {numbered(0, kBeyondQueue), numbered(1, kBeyondQueue)};
  Bench* bench = new Bench(console->write.get(), console->write.get(), hasty());
  console->write.reset();
  StreamId ids[2];
  Fd workers[2];
  for (int i = 0; i < 2; i++) workers[i] = bench->add({.console = 1 + i}, &ids[i]);
  std::thread writers[] = {std::thread([&] { CHECK(writeTo(workers[0], texts[0])); }),
                           std::thread([&] { CHECK(writeTo(workers[1], texts[1])); })};
  for (auto& writer : writers) writer.join();  // the point: nobody reads the console

  Collector shown(std::move(console->read));
  CHECK(shown.sees(" lines dropped\n"));
  CHECK(writeTo(workers[0], "0 last\n"));
  for (auto& worker : workers) worker.reset();
  bench->finish({ids[0], ids[1]});
  CHECK_EQ(bench->flush(), 0);

  const uint64_t dropped = bench->dropped();
  delete bench;
  size_t lines = 0;
  for (const std::string& line : split(shown.all())) {
    if (line.substr(0, 10) == "[regroup] ") continue;
    lines++;
    REQUIRE(line.size() > 2 && (line.substr(0, 2) == "0 " || line.substr(0, 2) == "1 "));
  }
  CHECK(shown.text.find("0 last\n") != std::string::npos);
  CHECK(dropped > 1000);
  CHECK_EQ(lines + dropped, countLines(texts[0]) + countLines(texts[1]) + 1);
}

TEST("F-H2: a console whose reader stops gets everything from the files when it reads again") {
  Folder folder;
  auto console = makePipe();
  std::string texts[] = {numbered(0, kBeyondQueue), numbered(1, kBeyondQueue)};
  const std::string paths[] = {folder.file("0"), folder.file("1")};
  Bench* bench = new Bench(console->write.get(), console->write.get(), hasty());
  console->write.reset();
  StreamId ids[2];
  Fd workers[2];
  for (int i = 0; i < 2; i++) {
    // Behind what an earlier round has left there.
    CHECK(writeTo(Fd(::open(paths[i].c_str(), O_CREAT | O_WRONLY, 0600)), "old\n"));
    workers[i] = bench->add({.file = paths[i], .console = 1 + i}, &ids[i]);
  }
  std::thread writers[] = {std::thread([&] { CHECK(writeTo(workers[0], texts[0])); }),
                           std::thread([&] { CHECK(writeTo(workers[1], texts[1])); })};
  for (auto& writer : writers) writer.join();  // the point: nobody reads the console

  Collector shown(std::move(console->read), 10'000);
  CHECK(shown.sees(split(texts[0]).back()));
  // It has caught up, or nearly so; one of them goes on, the other's last line has no end.
  CHECK(writeTo(workers[0], "0 last\n"));
  CHECK(writeTo(workers[1], "1 last"));
  for (auto& worker : workers) worker.reset();
  bench->finish({ids[0], ids[1]});
  CHECK_EQ(bench->flush(), 0);

  CHECK_EQ(bench->told().size(), 0);
  delete bench;
  std::string byRank[2];
  for (const std::string& line : split(shown.all())) {
    REQUIRE(!line.empty() && (line[0] == '0' || line[0] == '1'));
    byRank[line[0] - '0'] += line + "\n";
  }
  CHECK(byRank[0] == texts[0] + "0 last\n");
  CHECK(byRank[1] == texts[1] + "1 last\n");
  CHECK(contents(paths[0]) == "old\n" + texts[0] + "0 last\n");
  CHECK(contents(paths[1]) == "old\n" + texts[1] + "1 last");
}

TEST("F-H2: a finish doesn't wait for the console, which gets the rest before the next round's") {
  Folder folder;
  auto console = makePipe();
  Bench bench(console->write.get(), console->write.get(), hasty());
  std::string expected;
  for (int round = 0; round < 3; round++) {
    const std::string text = numbered(round, 6 << 20) + "no end";
    expected += text + "\n";
    StreamId id;
    Fd worker =
        bench.add({.file = folder.file(std::to_string(round)), .console = 1, .tailBytes = 10}, &id);
    CHECK(writeTo(worker, text));
    worker.reset();
    CHECK_EQ(bench.finish({id})[0], text.substr(text.size() - 10));
    CHECK(contents(folder.files.back()) == text);
  }
  // Nobody reads it: not for ever, if that's what is asked for.
  CHECK(bench.flush({10ms, 10ms}) > 10'000);
  std::optional<uint64_t> flushed;
  bench.startFlush({std::nullopt, 10ms}, &flushed);
  console->write.reset();
  Collector shown(std::move(console->read));

  CHECK_EQ(bench.awaitFlush(&flushed), 0);

  CHECK_EQ(bench.told().size(), 0);
  bench.pump.reset();
  CHECK(shown.all() == expected);
}

TEST("F-H2: a flush that nobody answers ends when it's hurried, or the reader goes") {
  for (const bool hurries : {true, false}) {
    Folder folder;
    auto console = makePipe();
    Bench bench(console->write.get(), console->write.get(), hasty());
    StreamId id;
    Fd worker = bench.add({.file = folder.file("0"), .console = 1}, &id);
    CHECK(writeTo(worker, numbered(0, 6 << 20)));
    worker.reset();
    bench.finish({id});
    std::optional<uint64_t> flushed;
    bench.startFlush({std::nullopt, 10ms}, &flushed);
    CHECK(bench.flush({10ms, 10ms}) > 10'000);
    CHECK(!bench.isFlushed(&flushed));

    if (hurries) {
      bench.pump->hurry();
    } else {
      console->read.reset();
    }

    CHECK_EQ(bench.awaitFlush(&flushed) > 0, hurries);
  }
}

TEST("the end of a pump is bounded, and writes what it has") {
  Folder folder;
  auto console = makePipe();
  const std::string text = numbered(0, 1 << 20) + "unfinished";
  const std::string path = folder.file("0");
  Fd worker;
  {
    Bench bench(console->write.get(), console->write.get(), hasty());
    StreamId id;
    worker = bench.add({.file = path, .console = 1}, &id);
    CHECK(writeTo(worker, text));
  }
  CHECK(contents(path) == text);
}

TEST("a finish waits no longer than the drain for those who still hold the pipe") {
  Folder folder;
  const Fd null = devNull();
  const std::string path = folder.file("0");
  Bench bench(null.get(), null.get());
  StreamId id;
  const Fd held = bench.add({.file = path, .tailBytes = 100}, &id);
  CHECK(writeTo(held, "all that the worker wrote"));

  const auto tails = bench.finish({id}, 10ms);

  CHECK_EQ(tails[0], "all that the worker wrote");
  CHECK_EQ(contents(path), "all that the worker wrote");
}

TEST("a grandchild that never stops writing doesn't hold up the finish") {
  const Fd null = devNull();
  Bench bench(null.get(), null.get());
  StreamId id;
  Fd held = bench.add({.console = 1, .prefix = "p "}, &id);
  std::thread flood([&] {
    const NoSigpipe noSigpipe;
    while (writeTo(held, "again and again\n")) {
    }
    CHECK_EQ(errno, EPIPE);
  });

  bench.finish({id}, 5ms);

  flood.join();
}

TEST("tails come in the order asked for, and a stream is finished once") {
  const Fd null = devNull();
  Bench bench(null.get(), null.get());
  StreamId a, b;
  Fd workerA = bench.add({.tailBytes = 3}, &a);
  Fd workerB = bench.add({.tailBytes = 0}, &b);
  CHECK(writeTo(workerA, "12345"));
  CHECK(writeTo(workerB, "12345"));
  workerA.reset();
  workerB.reset();

  CHECK(bench.finish({b, 12345, a}) == (std::vector<std::string>{"", "", "345"}));
  CHECK(bench.finish({a}) == std::vector<std::string>{""});
  CHECK(bench.finish({}).empty());
}

TEST("a line of hundreds of megabytes has one prefix and costs no memory") {
  Folder folder;
  const size_t size = (kSanitized ? 32 : 256) << 20;
  auto console = makePipe();
  rusage before, after;
  ::getrusage(RUSAGE_SELF, &before);
  size_t shown = 0;
  std::string head;
  std::string tail;
  std::thread reader([&] {
    std::string part(1 << 16, '\0');
    for (ssize_t n; (n = ::read(console->read.get(), part.data(), part.size())) > 0;) {
      if (head.size() < 4) head.append(part, 0, static_cast<size_t>(n));
      shown += static_cast<size_t>(n);
      tail.assign(part, 0, static_cast<size_t>(n));
    }
  });
  {
    Bench bench(console->write.get(), console->write.get());
    console->write.reset();
    StreamId id;
    Fd worker = bench.add(
        {.console = 1, .prefix = "p: ", .filters = {"no"}, .filteredFile = folder.file("filtered")},
        &id);
    const std::string part(1 << 20, 'x');
    for (size_t sent = 0; sent < size; sent += part.size()) CHECK(writeTo(worker, part));
    worker.reset();
    bench.finish({id});
    CHECK_EQ(bench.told().size(), 0);
  }
  reader.join();
  ::getrusage(RUSAGE_SELF, &after);

  CHECK_EQ(shown, size + 4);
  CHECK_EQ(head.substr(0, 4), "p: x");
  CHECK_EQ(tail.back(), '\n');
  if (!kSanitized) CHECK(after.ru_maxrss - before.ru_maxrss < 32 * 1024);
}

TEST("an unfinished line on the console isn't glued to another worker's") {
  auto console = makePipe();
  Collector shown(std::move(console->read));
  const std::string piece(kMaxLineBytes, 'x');
  {
    Bench bench(console->write.get(), console->write.get());
    console->write.reset();
    StreamId a, b;
    Fd workerA = bench.add({.console = 1, .prefix = "a:"}, &a);
    Fd workerB = bench.add({.console = 2, .prefix = "b:"}, &b);
    CHECK(writeTo(workerA, piece));
    CHECK(shown.sees(piece));
    CHECK(writeTo(workerB, "hello\nfragment"));
    CHECK(shown.sees("hello\n"));
    CHECK(writeTo(workerA, "end\nlast\n"));
    CHECK(shown.sees("last\n"));
    workerB.reset();
    bench.finish({b});
    workerA.reset();
    bench.finish({a});
  }
  CHECK(shown.all() == "a:" + piece + "\nb:hello\na:end\na:last\nb:fragment\n");
}

TEST("F-H5: a line's beginning is shown when the rest doesn't come, and goes on behind it") {
  auto console = makePipe();
  Collector shown(std::move(console->read));
  {
    Pump::Options soon;
    soon.partialWait = 1ms;
    Bench bench(console->write.get(), console->write.get(), soon);
    console->write.reset();
    StreamId a, b;
    Fd workerA = bench.add({.console = 1, .prefix = "a:"}, &a);
    Fd workerB = bench.add({.console = 1, .prefix = "b:"}, &b);
    CHECK(writeTo(workerA, "Go on? "));
    CHECK(shown.sees("a:Go on? "));
    CHECK(writeTo(workerA, "yes\n10%"));
    CHECK(shown.sees("yes\na:10%"));
    CHECK(writeTo(workerA, "\r20%"));
    CHECK(shown.sees("a:20%"));
    // Another's line ends what's shown of it.
    CHECK(writeTo(workerB, "hello\n"));
    CHECK(shown.sees("hello\n"));
    CHECK(writeTo(workerA, " done\n"));
    CHECK(shown.sees("done\n"));
    workerA.reset();
    workerB.reset();
    bench.finish({a, b});
  }
  CHECK_EQ(shown.all(), "a:Go on? yes\na:10%\na:20%\nb:hello\na: done\n");
}

TEST("F-N11: our own words never wait, come in their order between whole lines, and are bounded") {
  auto console = makePipe();
  const size_t count = 200'000;
  const std::string text = numbered(0, 1 << 20);
  Bench* bench = new Bench(console->write.get(), console->write.get());
  console->write.reset();
  StreamId id;
  Fd worker = bench->add({.console = 1}, &id);
  std::thread writer([&] { CHECK(writeTo(worker, text)); });
  for (size_t i = 0; i < count; i++) {
    bench->pump->say(1 + static_cast<int>(i % 2),
                     "said " + std::to_string(i) + " with some more words to it\n");
  }
  Collector shown(std::move(console->read));
  CHECK(shown.sees(" lines dropped\n"));
  writer.join();
  worker.reset();
  bench->finish({id});
  bench->pump->say(2, "last\n");
  CHECK_EQ(bench->flush(), 0);
  delete bench;

  std::string lines;
  size_t said = 0;
  size_t next = 0;
  for (const std::string& line : split(shown.all())) {
    if (line.substr(0, 5) == "said ") {
      const size_t number = std::stoul(line.substr(5));
      REQUIRE(number >= next && line.ends_with(" with some more words to it"));
      next = number + 1;
      said++;
    } else if (line.substr(0, 10) == "[regroup] ") {
      said += std::stoul(line.substr(10));
    } else if (line != "last") {
      lines += line + "\n";
    }
  }
  CHECK_EQ(said, count);
  CHECK(lines == text);
}

TEST("F-N02: what the console shows is in the file before") {
  Folder folder;
  auto console = makePipe();
  const std::string path = folder.file("0");
  Pump::Options patient = unhurried();
  patient.fileAhead = 10min;
  Bench bench(console->write.get(), console->write.get(), patient);
  StreamId id;
  Fd worker = bench.add({.file = path, .console = 1, .prefix = "a:"}, &id);

  std::string shown;
  for (int i = 0; i < 1000; i++) {
    const std::string line = "line " + std::to_string(i) + "\n";
    CHECK(writeTo(worker, line));
    while (shown.find(line) == std::string::npos) {
      char part[4096];
      const ssize_t n = ::read(console->read.get(), part, sizeof part);
      REQUIRE(n > 0);
      shown.append(part, static_cast<size_t>(n));
    }
    REQUIRE(contents(path).ends_with(line));
  }
  worker.reset();
  bench.finish({id});
}

TEST("F-N02: a file that takes nothing keeps its stream from the console for a time") {
  Folder folder;
  const std::string fifo = folder.file("fifo");
  REQUIRE_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const Fd disk(::open(fifo.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  const auto fill = [&] {
    std::string full(4096, '.');
    while (::write(disk.get(), full.data(), full.size()) > 0) continue;
  };
  const auto drain = [&] {
    std::string all;
    std::string part(1 << 16, '\0');
    for (ssize_t n; (n = ::read(disk.get(), part.data(), part.size())) > 0;) all.append(part, 0, n);
    return all;
  };
  fill();
  auto screen = makePipe();
  Pump::Options patient = unhurried();
  patient.fileAhead = 10min;
  {
    Bench bench(screen->write.get(), screen->write.get(), patient);
    Collector console(std::move(screen->read));
    StreamId id;
    Fd worker = bench.add({.file = fifo, .console = 1, .prefix = "a:"}, &id);
    const auto unread = [&] {
      int left = -1;
      CHECK_EQ(::ioctl(worker.get(), FIONREAD, &left), 0);
      return left;
    };
    CHECK(writeTo(worker, "one\n"));
    while (unread() > 0) ::sched_yield();
    CHECK(writeTo(worker, "two\n"));
    // Said behind the read, and shown without it.
    bench.pump->say(1, "ours\n");
    CHECK(console.sees("ours\n"));
    CHECK_EQ(unread(), 4);

    std::string written;
    while (written.find("two\n") == std::string::npos) written += drain();
    CHECK(console.sees("a:two\n"));
    worker.reset();
    bench.finish({id});
    bench.pump.reset();
    screen->write.reset();
    CHECK_EQ(console.all(), "ours\na:one\na:two\n");
  }

  fill();
  screen = makePipe();
  Pump::Options brief = unhurried();
  brief.fileAhead = 1ms;
  Bench bench(screen->write.get(), screen->write.get(), brief);
  Collector console(std::move(screen->read));
  StreamId id;
  Fd worker = bench.add({.file = fifo, .console = 1, .prefix = "a:"}, &id);
  CHECK(writeTo(worker, "one\n"));
  CHECK(console.sees("a:one\n"));
  CHECK(writeTo(worker, "two\n"));
  CHECK(console.sees("a:two\n"));
  (void)drain();
  worker.reset();
  bench.finish({id});
  bench.pump.reset();
  screen->write.reset();
}

TEST("F-N02: lines with a filter whose file blocks are lost to it alone") {
  Folder folder;
  const std::string fifo = folder.file("fifo");
  REQUIRE_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const Fd reader(::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  const Fd null = devNull();
  const std::string path = folder.file("0");
  const std::string text = numbered(0, 8 << 20);
  Pump::Options hasty;
  hasty.fileGiveUp = 1s;  // the other file must make progress within it
  Bench bench(null.get(), null.get(), hasty);
  StreamId id;
  Fd worker = bench.add({.file = path, .filters = {"x"}, .filteredFile = fifo}, &id);

  CHECK(writeTo(worker, text));
  worker.reset();
  bench.finish({id});

  CHECK(contents(path) == text);
  REQUIRE_EQ(bench.told().size(), 1);
  CHECK_EQ(bench.told()[0].path, fifo);
  CHECK_EQ(bench.told()[0].error.code, ETIMEDOUT);
}

TEST("lines with a filter go to the file that their streams share") {
  Folder folder;
  const Fd null = devNull();
  const std::string path = folder.file("filtered");
  Bench bench(null.get(), null.get());
  StreamId a, b;
  Fd workerA = bench.add({.prefix = "a:", .filters = {"loss"}, .filteredFile = path}, &a);
  Fd workerB = bench.add({.prefix = "b:", .filters = {"acc", "lr"}, .filteredFile = path}, &b);
  CHECK(writeTo(workerA, "loss 1\nstep\nno\nthe loss"));
  workerA.reset();
  bench.finish({a});
  CHECK(writeTo(workerB, "loss\nlr 3\r\nacc 4\n"));
  workerB.reset();
  bench.finish({b});

  CHECK_EQ(contents(path), "a:loss 1\na:the loss\nb:lr 3\nb:acc 4\n");
}

TEST("a file gets its bytes verbatim, behind what it had") {
  Folder folder;
  const Fd null = devNull();
  const std::string path = folder.file("0");
  const std::string bytes("\0\r\n\xff\r no end"s);
  for (int turn = 0; turn < 2; turn++) {
    Bench bench(null.get(), null.get());
    StreamId id;
    Fd worker = bench.add({.file = path, .console = 1}, &id);
    CHECK(writeTo(worker, bytes));
    worker.reset();
    bench.finish({id});
  }

  CHECK(contents(path) == bytes + bytes);
}

TEST("a file that can't be opened is told") {
  auto files = Pump::openFiles({.file = "/nowhere/at/all"});

  CHECK(!files);
  CHECK_EQ(files.error().code, ENOENT);
}

TEST("a full disk is told once, stops nobody, and gets later bytes when it has room") {
  Folder folder;
  bool ran = false;
  std::thread([&] {
    // The mount is seen by this thread alone, and goes with it.
    if (::unshare(CLONE_NEWNS) < 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0 ||
        ::mount("tmpfs", folder.path.c_str(), "tmpfs", 0, "size=1m") < 0)
      return;
    ran = true;
    auto console = makePipe();
    Collector shown(std::move(console->read));
    const std::string text = numbered(0, 3 << 20);
    const std::string path = folder.path + "/0";
    const std::string filler = folder.path + "/filler";
    CHECK(writeTo(Fd(::open(filler.c_str(), O_CREAT | O_WRONLY, 0600)), std::string(4096, 'f')));
    {
      Bench bench(console->write.get(), console->write.get());
      console->write.reset();
      StreamId id;
      Fd worker = bench.add({.file = path, .console = 1, .tailBytes = 5}, &id);
      CHECK(writeTo(worker, text));
      bench.awaitTrouble();
      CHECK(shown.sees(text.substr(text.size() - 100)));
      CHECK_EQ(::unlink(filler.c_str()), 0);
      CHECK(writeTo(worker, "traceback\n"));
      worker.reset();
      CHECK_EQ(bench.finish({id})[0], "back\n");

      REQUIRE_EQ(bench.told().size(), 1);
      CHECK_EQ(bench.told()[0].path, path);
      CHECK_EQ(bench.told()[0].error.code, ENOSPC);
      CHECK_EQ(bench.told()[0].droppedLines, 0);
    }
    CHECK(shown.all() == text + "traceback\n");
    const std::string kept = contents(path);
    CHECK(kept.size() > 900'000);
    CHECK(kept.size() > 10 && kept.substr(kept.size() - 10) == "traceback\n");
    ::umount2(folder.path.c_str(), MNT_DETACH);
  }).join();
  if (!ran) tap::skip("mounting a tmpfs needs root");
}

TEST("a console that's gone is told once, and the files are complete") {
  Folder folder;
  auto console = makePipe();
  const std::string text = numbered(0, 2 << 20);
  const std::string paths[] = {folder.file("0"), folder.file("1")};
  Bench bench(console->write.get(), console->write.get());
  console->read.reset();
  StreamId ids[2];
  for (int i = 0; i < 2; i++) {
    Fd worker = bench.add({.file = paths[i], .console = 2}, &ids[i]);
    CHECK(writeTo(worker, text));
  }

  bench.finish({ids[0], ids[1]});

  REQUIRE_EQ(bench.told().size(), 1);
  CHECK_EQ(bench.told()[0].path, "stderr");
  CHECK_EQ(bench.told()[0].error.code, EPIPE);
  CHECK(contents(paths[0]) == text);
  CHECK(contents(paths[1]) == text);
}

TEST("a console that goes while lines wait for it frees the workers") {
  auto console = makePipe();
  const std::string text = numbered(0, kBeyondQueue);
  Pump::Options patient = unhurried();
  patient.consoleStall = 60s;
  Bench bench(console->write.get(), console->write.get(), patient);
  StreamId id;
  Fd worker = bench.add({.console = 1}, &id);
  std::thread writer([&] { CHECK(writeTo(worker, text)); });
  char byte;
  CHECK_EQ(::read(console->read.get(), &byte, 1), 1);
  console->read.reset();

  writer.join();
  worker.reset();
  bench.finish({id});

  REQUIRE_EQ(bench.told().size(), 1);
  CHECK_EQ(bench.told()[0].error.code, EPIPE);
}

TEST("a closed stdout is told once and costs nothing else") {
  const Fd null = devNull();
  Bench bench(100'000, null.get());
  StreamId id;
  Fd worker = bench.add({.console = 1, .tailBytes = 2}, &id);
  CHECK(writeTo(worker, "a\nb\n"));
  worker.reset();

  CHECK_EQ(bench.finish({id})[0], "b\n");
  REQUIRE_EQ(bench.told().size(), 1);
  CHECK_EQ(bench.told()[0].path, "stdout");
  CHECK_EQ(bench.told()[0].error.code, EBADF);
}

TEST("the console may be a pipe") {
  auto console = makePipe();
  checkConsole(console->write, "pipe");
  console->write.reset();
  CHECK_EQ(Collector(std::move(console->read)).all(), "[default0]:hello\n[default0]:bye\n");
}

TEST("the console may be a socket") {
  int pair[2];
  REQUIRE_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  Fd console(pair[0]);
  checkConsole(console, "socket");
  console.reset();
  CHECK_EQ(Collector(Fd(pair[1])).all(), "[default0]:hello\n[default0]:bye\n");
}

TEST("the console may be a file, which goes on where it was") {
  Folder folder;
  for (const int append : {0, O_APPEND}) {
    const std::string path = folder.file(append ? "append" : "plain");
    const Fd console(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | append, 0600));
    CHECK(writeTo(console, "before\n"));
    checkConsole(console, "file");
    CHECK(writeTo(console, "after\n"));
    CHECK_EQ(contents(path), "before\n[default0]:hello\n[default0]:bye\nafter\n");
  }
}

TEST("the console may be a terminal") {
  Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  REQUIRE(master && ::grantpt(master.get()) == 0 && ::unlockpt(master.get()) == 0);
  Fd console(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  REQUIRE(console);
  CHECK(Console::same(console.get(), Fd(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY)).get()));
  checkConsole(console, "terminal");
  const std::string expected = "[default0]:hello\r\n[default0]:bye\r\n";
  std::string shown;
  char part[100];
  // They may have been written one by one.
  for (ssize_t size;
       shown.size() < expected.size() && (size = ::read(master.get(), part, sizeof part)) > 0;)
    shown.append(part, static_cast<size_t>(size));
  CHECK_EQ(shown, expected);
}

TEST("a console is written without waiting by every way there is") {
  const auto text = numbered(0, 512 << 10);
  for (const bool terminal : {false, true}) {
    for (const bool mayReopen : {false, true}) {
      Fd source, sink;
      if (terminal) {
        source = Fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
        REQUIRE(source && ::grantpt(source.get()) == 0 && ::unlockpt(source.get()) == 0);
        sink = Fd(::open(::ptsname(source.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
        termios raw;
        ::tcgetattr(sink.get(), &raw);
        ::cfmakeraw(&raw);
        ::tcsetattr(sink.get(), TCSANOW, &raw);
      } else {
        auto pipe = makePipe();
        source = std::move(pipe->read);
        sink = std::move(pipe->write);
      }
      const std::shared_ptr<Loop> loop = std::move(*Loop::create());
      bool full = false;
      Console::Options options;
      options.mayReopen = mayReopen;
      Console* console = nullptr;
      options.onChange = [&] {
        if (console->queuedBytes() == 0) loop->stop();
      };
      console = new Console(loop, std::make_shared<Helpers>(), sink.get(), options);
      std::string_view rest = text;
      while (!rest.empty()) {
        console->write(1, rest.substr(0, 1000));
        rest.remove_prefix(std::min<size_t>(1000, rest.size()));
        full = full || console->queuedBytes() > 0;
      }
      CHECK(full);  // so it returned although nobody reads

      std::string shown;
      std::thread reader([&] {
        std::string part(4096, '\0');
        while (shown.size() < text.size()) {
          const ssize_t n = ::read(source.get(), part.data(), part.size());
          if (n <= 0) break;
          shown.append(part, 0, static_cast<size_t>(n));
        }
      });
      loop->run();
      reader.join();
      delete console;
      CHECK(shown == text);
      CHECK(!nonBlocking(sink));
    }
  }
}

TAP_MAIN
