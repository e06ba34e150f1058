#include "core/process/strays.h"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>

#include "core/base/own_proc.h"
#include "core/base/syscall.h"
#include "test/native/bystander.h"
#include "test/native/dead_disk.h"
#include "test/native/group_harness.h"
#include "test/native/namespace.h"

using namespace regroup;
using namespace support;

namespace {

const Features& features() {
  static const Features& all = *new Features(probeFeatures());
  return all;
}

Wanted wantedFor(const std::string& cookie) {
  Wanted wanted;
  wanted.cookie = cookie;
  return wanted;
}

const Stray* find(const std::vector<Stray>& strays, pid_t pid) {
  const auto at = std::find_if(strays.begin(), strays.end(),
                               [&](const Stray& stray) { return stray.pid == pid; });
  return at == strays.end() ? nullptr : &*at;
}

}  // namespace

TEST("who bears the cookie is found, with what there is to know of it, and nobody else") {
  const std::string cookie = makeCookie();
  Bystander ours(cookie);
  Bystander other(cookie + "0");
  ProcessAges ages;

  const auto strays = findStrays(wantedFor(cookie), features(), ages);

  REQUIRE_EQ(strays.size(), 1u);
  CHECK_EQ(strays[0].pid, ours.pid());
  CHECK_EQ(strays[0].parent, ::getpid());
  CHECK_EQ(strays[0].group, ours.pid());
  CHECK_EQ(strays[0].command, "fixture");
  CHECK(strays[0].isDetached);
  CHECK(!strays[0].isFork);
  CHECK(!strays[0].asksToBeLeft);
}

TEST("F-N01 a sick process of somebody else doesn't hold up the search: ours are found beside it") {
  TempDir folder;
  DeadDisk disk(folder, "flush");
  if (!disk) return tap::skip(DeadDisk::kNeeds);
  const std::string cookie = makeCookie();
  Bystander before(cookie);
  const pid_t sick = disk.sickProcess();
  REQUIRE(sick > 0);
  Bystander after(cookie);
  ProcessAges ages;

  const auto strays = findStrays(wantedFor(cookie), features(), ages);

  CHECK_EQ(strays.size(), 2u);
  CHECK(find(strays, before.pid()) != nullptr);
  CHECK(find(strays, after.pid()) != nullptr);
}

TEST("F-N01 one of a worker's session is found though it shows nothing more") {
  TempDir folder;
  DeadDisk disk(folder, "flush");
  if (!disk) return tap::skip(DeadDisk::kNeeds);
  // In a container's `exec` it's one of outside, which has no number here.
  if (::getsid(0) == 0) (void)::setsid();
  const pid_t sick = disk.sickProcess(DeadDisk::Session::Ours);
  REQUIRE(sick > 0);
  Wanted wanted = wantedFor(makeCookie());
  wanted.leaders = {::getsid(0)};
  ProcessAges ages;

  const auto strays = findStrays(wanted, features(), ages);

  const Stray* const found = find(strays, sick);
  REQUIRE(found != nullptr);
  CHECK(!found->isDetached);
  CHECK(found->holdsGpu);
}

TEST("who was there before the round isn't looked into, and so can't hold up anybody") {
  const std::string cookie = makeCookie();
  Bystander before(cookie);
  ProcessAges ages;
  ages.note();
  Wanted wanted = wantedFor(cookie);
  wanted.since = monotonicNow();
  Bystander after(cookie);

  const auto strays = findStrays(wanted, features(), ages);

  REQUIRE_EQ(strays.size(), 1u);
  CHECK_EQ(strays[0].pid, after.pid());
}

TEST("F-N13 a daemon whose first thread has ended is found by what its others show") {
  TempDir folder;
  Witness witness(folder);
  const std::string cookie = makeCookie();
  const pid_t starter = ::fork();
  if (starter == 0) {
    const Fd out(::open(witness.path().c_str(), O_WRONLY));
    ::dup2(out.get(), 1);
    std::string entry = std::string(kCookieName) + "=" + cookie;
    char* const entries[] = {entry.data(), nullptr};
    char* const arguments[] = {const_cast<char*>("fixture"), const_cast<char*>("headless-daemon"),
                               nullptr};
    ::execve(REGROUP_FIXTURE, arguments, entries);
    ::_exit(1);
  }
  const pid_t daemon = await(witness, "daemon");
  (void)::waitpid(starter, nullptr, 0);
  ProcessAges ages;

  const auto strays = findStrays(wantedFor(cookie), features(), ages);

  CHECK_EQ(stateOf(daemon), 'Z');
  const Stray* const found = find(strays, daemon);
  REQUIRE(found != nullptr);
  signalStray(*found, SIGKILL, features());
  CHECK(witness.reader().ended());
}

TEST("F-N12 where /proc numbers processes as somebody else does, nobody is taken for ours") {
  const auto result = inPidNamespace(Proc::Parents, [] {
    if (procIsOurs()) return 2;
    ProcessAges ages;
    // With every number that a process may have here.
    Wanted wanted;
    for (pid_t pid = 2; pid < 32768; pid++) wanted.leaders.push_back(pid);
    const bool none = findStraysAtOnce(wanted, probeFeatures()).empty() &&
                      findStrays(wanted, probeFeatures(), ages).empty();
    return none ? 0 : 1;
  });
  if (!result) return tap::skip("needs a pid namespace of its own: root");

  CHECK_EQ(*result, 0);
}

TEST("F-N12 whether a stray has ended is its pidfd's to tell, whatever /proc shows by its number") {
  const auto result = inPidNamespace(Proc::Parents, [] {
    // Of us, who live on, and of nobody.
    for (const pid_t number : {numberInParent(::getpid()), absentNumber()}) {
      Stray stray;
      stray.pid = strangerWithNumber(number);
      auto pidfd = openPidfd(stray.pid);
      if (stray.pid == 0 || !pidfd) return 3;
      stray.pidfd = *std::move(pidfd);
      if (hasEnded(stray)) return 1;
      (void)::kill(stray.pid, SIGKILL);
      if (!waitReadable(stray.pidfd, kLong)) return 4;
      if (!hasEnded(stray)) return 2;
    }
    return 0;
  });
  if (!result) return tap::skip("needs a pid namespace of its own: root");

  CHECK_EQ(*result, 0);
}

TEST("who is in a session that began outside of the namespace is found, too") {
  const auto result = inPidNamespace(Proc::Own, [] {
    if (::getsid(0) != 0) return 2;
    const std::string cookie = makeCookie();
    const Bystander bystander(cookie, Session::Ours);
    ProcessAges ages;
    const auto strays = findStrays(wantedFor(cookie), probeFeatures(), ages);
    return find(strays, bystander.pid()) != nullptr ? 0 : 1;
  });
  if (!result) return tap::skip("needs a pid namespace of its own: root");

  CHECK_EQ(*result, 0);
}

TEST(
    "F-F16 who asks to be left alone is known by its environment, and who holds a GPU by its "
    "files") {
  TempDir folder;
  const std::string cookie = makeCookie();
  Bystander asks(cookie, Session::Own, {"REGROUP_LEAVE=1"});
  Bystander doesNot(cookie, Session::Own, {"REGROUP_LEAVE=0"});
  Fd gpu(::open(folder.file("nvidia0").c_str(), O_RDWR | O_CREAT, 0600));
  Bystander holds(cookie, Session::Own, {"REGROUP_LEAVE=1"});
  gpu.reset();
  ProcessAges ages;
  Wanted wanted = wantedFor(cookie);
  wanted.devices = folder.path();

  const auto strays = findStrays(wanted, features(), ages);

  REQUIRE_EQ(strays.size(), 3u);
  CHECK(find(strays, asks.pid())->asksToBeLeft && !find(strays, asks.pid())->holdsGpu);
  CHECK(!find(strays, doesNot.pid())->asksToBeLeft);
  CHECK(find(strays, holds.pid())->asksToBeLeft && find(strays, holds.pid())->holdsGpu);
}

TAP_MAIN
