#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "core/process/early_layout.h"
#include "core/process/early_status.h"
#include "core/process/early_watch.h"
#include "test/native/group_harness.h"

using namespace regroup;
using namespace support;

namespace {

/// The memory of a worker, in MiB. With little it may be gone before its notice is looked at, and a
/// busy machine makes every memory little: then it's tried again, with more.
constexpr size_t kMemories[] = {64, 128, 256, 512, 512, 512};

const std::vector<std::vector<std::string>> kWays = {{}, {"early-waitv"}, {"pidfd"}};

struct EarlyHarness : Harness {
  explicit EarlyHarness(std::vector<std::string> disable = {})
      : Harness(std::move(disable), {}, {.early = REGROUP_EARLY_LIBRARY}) {}
};

GroupPlan earlyGroup(GroupId id, const Witness& witness,
                     std::vector<std::vector<std::string>> workers) {
  GroupPlan plan = group(id, witness, std::move(workers));
  for (WorkerPlan& worker : plan.workers) worker.command.file = REGROUP_EARLY_FIXTURE;
  return plan;
}

struct Told {
  std::optional<Dying> dying;
  Exited exited;
};

/// The events of a group with one worker, all of them.
Told runOne(Harness& harness, GroupPlan plan) {
  harness->startGroup(std::move(plan));
  Told told;
  const Started started = harness.next<Started>();
  auto event = harness.nextEvent();
  if (!event) return told;
  if (auto* dying = std::get_if<Dying>(&event->what)) {
    CHECK_EQ(dying->pid, started.pids[0]);
    told.dying = *dying;
    told.exited = harness.next<Exited>();
  } else if (auto* exited = std::get_if<Exited>(&event->what)) {
    told.exited = *exited;
  } else {
    CHECK(false);
  }
  (void)harness.next<Ended>();
  return told;
}

void checkSame(const Told& told) {
  CHECK(told.dying->status.how == told.exited.status.how);
  CHECK_EQ(told.dying->status.code, told.exited.status.code);
  CHECK_EQ(told.dying->status.coreDumped, told.exited.status.coreDumped);
}

/// Whatever the way of waiting, such an end is noticed before it's over, and its status is right.
void checkNoticed(const std::vector<std::string>& arguments) {
  for (const auto& way : kWays) {
    EarlyHarness harness(way);
    TempDir folder;
    bool noticed = false;
    for (GroupId id = 0; id < std::size(kMemories) && !noticed; id++) {
      Witness witness(folder);
      std::vector<std::string> whole = arguments;
      whole.push_back(std::to_string(kMemories[id]));
      const Told told = runOne(harness, earlyGroup(id, witness, {whole}));
      noticed = told.dying.has_value();
      if (noticed) checkSame(told);
    }
    CHECK(noticed);
    if (!noticed) tap::fail(__FILE__, __LINE__, nameOf(way));
  }
}

/// Such a worker isn't dying when its word is marked, and ends with 0.
void checkNotNoticed(const std::vector<std::string>& arguments) {
  for (const auto& way : kWays) {
    EarlyHarness harness(way);
    TempDir folder;
    Witness witness(folder);
    const Told told = runOne(harness, earlyGroup(1, witness, {arguments}));
    CHECK(!told.dying);
    CHECK(exitedWith(told.exited, 0));
  }
}

std::string linesOf(GroupPlan plan, Witness& witness) {
  EarlyHarness harness;
  CHECK(!runOne(harness, std::move(plan)).dying);
  return witness.reader().rest();
}

/// The fixture, started by us as an agent would, says whether it has a page.
std::string mappedBy(const std::string& variable) {
  auto pipe = *makePipe();
  const std::string preload = std::string("LD_PRELOAD=") + REGROUP_EARLY_LIBRARY;
  const pid_t child = ::fork();
  if (child == 0) {
    const char* const env[] = {preload.c_str(), variable.c_str(), nullptr};
    (void)::dup2(pipe.write.get(), 1);
    ::execle(REGROUP_EARLY_FIXTURE, "fixture", "tell", nullptr, env);
    ::_exit(127);
  }
  pipe.write.reset();
  const std::string said = LineReader(std::move(pipe.read)).rest();
  (void)::waitpid(child, nullptr, 0);
  CHECK(said.starts_with("environment clean\npreload none\n"));
  const size_t page = said.find("page ");
  return page == std::string::npos ? said : said.substr(page, said.find('\n', page) - page);
}

constexpr char kStat[] =
    "42 (a) b (c) Z 7 0 0 0 0 4212740 0 0 0 0 0 0 0 0 0 0 3 0 0 0 0 0 0 0 0 0 0 256 0 0 0 0 0 "
    "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 10496\n";

}  // namespace

TEST("a thread's stat is read past a name with spaces and parentheses") {
  const auto stat = parseTaskStat(kStat);

  CHECK(stat.has_value());
  CHECK_EQ(stat->parent, 7);
  CHECK(stat->exiting);
  CHECK_EQ(stat->threads, 3);
  CHECK_EQ(stat->killPending, true);
  CHECK_EQ(stat->waitStatus, 10496);
}

TEST("a stat that's cut off or garbled tells nothing") {
  const std::string whole = kStat;
  for (size_t length = 0; length + 7 < whole.size(); length++)
    CHECK(!parseTaskStat(std::string_view(whole).substr(0, length)));
  CHECK(!parseTaskStat("1 (x) R a b c d e f"));
  CHECK(!parseTaskStat(") "));
}

TEST("pain 17: _exit is noticed while the memory is being freed") {
  checkNoticed({"exit", "41"});
}
TEST("_exit with threads running is noticed") {
  checkNoticed({"threads", "41"});
}
TEST("another thread's exit of the process is noticed") {
  checkNoticed({"thread-exits", "41"});
}
TEST("SIGSEGV is noticed") {
  checkNoticed({"die", "11"});
}
TEST("SIGKILL is noticed") {
  checkNoticed({"die", "9"});
}

TEST("a core dump comes before the notice, which knows of it") {
  EarlyHarness harness;
  TempDir folder;
  Witness witness(folder);
  GroupPlan plan = earlyGroup(1, witness, {{"dumps-core"}});
  plan.workers[0].command.cwd = folder.path();
  const Told told = runOne(harness, std::move(plan));
  CHECK(signaledWith(told.exited, SIGABRT));
  if (told.dying) checkSame(told);
}

TEST("a good end isn't told twice") {
  checkNotNoticed({"exit", "0", std::to_string(kMemories[1])});
}
TEST("an exec is no death, though the kernel marks it alike") {
  checkNotNoticed({"execs", "/bin/sleep", "0.1"});
}
TEST("the end of a forked child isn't its parent's") {
  checkNotNoticed({"forks"});
}
TEST("a first thread that ends alone is no death, whatever its status") {
  checkNotNoticed({"first-thread-ends", "5"});
}

TEST("a static program has no notice, and loses nothing but time") {
  for (const auto& way : kWays) {
    EarlyHarness harness(way);
    TempDir folder;
    Witness witness(folder);
    const Told told = runOne(harness, group(1, witness, {{"exit", "3"}}));
    CHECK(!told.dying);
    CHECK(exitedWith(told.exited, 3));
  }
}

TEST(
    "neither the program nor its children see how the notice came to be, and no descriptor is "
    "left") {
  TempDir folder;
  Witness witness(folder);
  CHECK_EQ(linesOf(earlyGroup(1, witness, {{"tell"}}), witness),
           "environment clean\npreload none\ndescriptor 3 closed\npage mapped\n");

  Witness child(folder, "child");
  CHECK_EQ(linesOf(earlyGroup(1, child, {{"spawns"}}), child),
           "environment clean\npreload none\ndescriptor 3 closed\npage not mapped\n");
}

TEST("what the user preloads stays, and comes first") {
  TempDir folder;
  Witness witness(folder);
  GroupPlan plan = earlyGroup(1, witness, {{"tell"}});
  // A library that's loaded anyway, so that nothing complains.
  plan.workers[0].command.env.push_back("LD_PRELOAD=libc.so.6");

  CHECK_EQ(linesOf(std::move(plan), witness),
           "environment not clean\npreload libc.so.6\ndescriptor 3 closed\npage mapped\n");
}

TEST("F-F09 whatever isn't the interpreter itself gets nothing that its children would inherit") {
  const std::string script = std::string("exec ") + REGROUP_EARLY_FIXTURE + " tell\n";
  TempDir folder;
  writeFile(folder.file("wrapper"), "#!/bin/sh\n" + script, 0755);
  const std::vector<std::pair<std::string, std::vector<std::string>>> wrappers = {
      {folder.file("wrapper"), {}},
      {"/bin/sh", {"-c", script}},
      {"env", {REGROUP_EARLY_FIXTURE, "tell"}},
  };
  for (const auto& [file, arguments] : wrappers) {
    Witness witness(folder, "witness of " + std::to_string(&file - &wrappers[0].first));
    GroupPlan plan = earlyGroup(1, witness, {arguments});
    plan.workers[0].command.file = file;
    plan.workers[0].command.env.push_back("PATH=/usr/bin:/bin");

    CHECK_EQ(linesOf(std::move(plan), witness),
             "environment clean\npreload none\ndescriptor 3 closed\npage not mapped\n");
  }
}

TEST("F-F09 the interpreter is found along the PATH, and through links, as it's started") {
  TempDir folder;
  const std::string link = folder.file("python");
  CHECK_EQ(::symlink(REGROUP_EARLY_FIXTURE, link.c_str()), 0);
  const std::vector<std::pair<std::string, std::string>> names = {
      {link, {}}, {"python", {}}, {"./python", folder.path()}};
  for (const auto& [file, cwd] : names) {
    Witness witness(folder, "witness of " + std::to_string(&file - &names[0].first));
    GroupPlan plan = earlyGroup(1, witness, {{"tell"}});
    plan.workers[0].command.file = file;
    plan.workers[0].command.cwd = cwd;
    plan.workers[0].command.env.push_back("PATH=" + folder.path());

    CHECK_EQ(linesOf(std::move(plan), witness),
             "environment clean\npreload none\ndescriptor 3 closed\npage mapped\n");
  }
}

TEST("F-F01 a page that isn't proven to be the agent's isn't written to") {
  constexpr size_t kBytes = 4096;
  auto watch = *EarlyWatch::create(1);
  const std::string variable = watch->variable(0);
  const std::string identity = variable.substr(variable.find(':', variable.find(':') + 1));
  TempDir folder;
  const std::string path = folder.file("database");
  writeFile(path, std::string(kBytes, 'A'));
  auto strangers = *openFile(path.c_str(), O_RDWR);
  auto unsealed = *makeMemfd("unsealed");
  CHECK_EQ(::ftruncate(unsealed.get(), kBytes), 0);
  auto blank = *makeMemfd("blank");
  CHECK_EQ(::ftruncate(blank.get(), kBytes), 0);
  CHECK(static_cast<bool>(addSeals(blank, early::kSeals)));

  const auto named = [](const Fd& fd, const std::string& rest) {
    return std::string(early::kVariable) + "=" + std::to_string(::getpid()) + ":" +
           std::to_string(fd.get()) + rest;
  };
  const auto itself = [](const Fd& fd) {
    struct statx file;
    (void)::statx(fd.get(), "", AT_EMPTY_PATH, STATX_INO, &file);
    return ":0:" + std::to_string(makedev(file.stx_dev_major, file.stx_dev_minor)) + ":" +
           std::to_string(file.stx_ino);
  };
  for (const std::string& doubtful :
       {named(strangers, identity), named(strangers, itself(strangers)), named(strangers, ":0"),
        named(unsealed, itself(unsealed)), named(blank, itself(blank)), variable.substr(0, 20)}) {
    CHECK_EQ(mappedBy(doubtful), "page not mapped");
  }
  CHECK_EQ(mappedBy(variable), "page mapped");
  for (const Fd* each : {&strangers, &unsealed, &blank}) {
    std::string bytes(kBytes, '?');
    CHECK_EQ(::pread(each->get(), bytes.data(), kBytes, 0), kBytes);
    CHECK(bytes == std::string(kBytes, each == &strangers ? 'A' : '\0'));
  }
}

TEST(
    "F-F01 nothing that only bears the number is opened: whoever reads a pipe doesn't see a "
    "writer") {
  auto watch = *EarlyWatch::create(1);
  const std::string variable = watch->variable(0);
  const std::string identity = variable.substr(variable.find(':', variable.find(':') + 1));
  TempDir folder;
  const std::string path = folder.file("fifo");
  CHECK_EQ(::mkfifo(path.c_str(), 0600), 0);
  auto reader = *openFile(path.c_str(), O_RDONLY | O_NONBLOCK);
  const std::string name = std::string(early::kVariable) + "=" + std::to_string(::getpid()) + ":" +
                           std::to_string(reader.get()) + identity;

  CHECK_EQ(mappedBy(name), "page not mapped");

  // A reader that never had a writer waits for the first; one that had sees its end.
  pollfd poll{reader.get(), POLLIN, 0};
  CHECK_EQ(::poll(&poll, 1, 0), 0);
}

TEST("a worker that scribbles over its page costs itself its notice, and nobody else") {
  for (const auto& way : kWays) {
    EarlyHarness harness(way);
    TempDir folder;
    bool noticed = false;
    for (GroupId id = 0; id < std::size(kMemories) && !noticed; id++) {
      Witness witness(folder);
      const std::string memory = std::to_string(kMemories[id]);
      harness->startGroup(earlyGroup(id, witness, {{"scribbles", "3"}, {"exit", "4", memory}}));
      (void)harness.next<Started>();
      for (int exits = 0; exits < 2;) {
        auto event = harness.nextEvent();
        if (!event) return;
        if (auto* dying = std::get_if<Dying>(&event->what)) {
          // A mark that it made by itself may come true while it's ending.
          if (dying->index == 1) noticed = true;
          CHECK_EQ(dying->status.code, dying->index == 1 ? 4 : 3);
        } else if (auto* exited = std::get_if<Exited>(&event->what)) {
          CHECK(exitedWith(*exited, exited->index == 1 ? 4 : 3));
          exits++;
        } else {
          CHECK(false);
        }
      }
      (void)harness.next<Ended>();
    }
    CHECK(noticed);
  }
}

TEST("a watch that nobody ever marks ends at once, and leaves no descriptor") {
  for (const bool many : {true, false}) {
    const size_t before = openDescriptors();
    {
      auto watch = EarlyWatch::create(300);
      CHECK(static_cast<bool>(watch));
      CHECK(static_cast<bool>((*watch)->start(many, [](size_t, TimePoint) {})));
    }
    CHECK_EQ(openDescriptors(), before);
  }
}

TAP_MAIN
