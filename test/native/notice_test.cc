// What a server is told by the guardian of an agent that was killed.
#include <netinet/in.h>
#include <sys/socket.h>

#include <set>

#include "test/native/agent_harness.h"
#include "test/native/dead_disk.h"
#include "test/native/freezer.h"

using namespace regroup;
using namespace support;

namespace {

/// Else processes of others, whom one can't look into, may leave it uncertain.
constexpr char kNeedsCgroup[] = "needs a cgroup of its own";

bool isInCgroup(pid_t worker) {
  auto cgroup = readFile(procPath(worker, "cgroup").c_str(), 64 * 1024);
  return cgroup && cgroup->find("/regroup-") != std::string::npos;
}

/// A server at loopback that may be told that an agent is gone.
class NoticeServer {
 public:
  NoticeServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address_;
    ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address_), size);
    ::listen(listener_.get(), 8);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address_), &size);
  }

  LastNotice notice(const std::string& message) const {
    return {std::string(reinterpret_cast<const char*>(&address_), sizeof address_), message};
  }
  /// Whether somebody has connected by then.
  bool isTold(std::chrono::milliseconds in) const { return waitReadable(listener_, in); }
  Fd accept() const {
    return isTold(kLong) ? Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)) : Fd();
  }

 private:
  const Fd listener_;
  sockaddr_in address_{};
};

/// Whether anybody has a witness' other end at this moment.
bool hasWriters(const Witness& witness) {
  const Fd reader(::open(witness.path().c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  char bytes[4096];
  ssize_t size;
  while ((size = ::read(reader.get(), bytes, sizeof bytes)) > 0) continue;
  return size != 0;
}

/// Waits until these have been said, in whatever order, and `started`. @returns its number
pid_t awaitAll(Witness& witness, std::set<std::string> words) {
  pid_t worker = 0;
  words.insert("started");
  while (!words.empty()) {
    const std::string line = witness.reader().line();
    const size_t space = line.find(' ');
    if (space == std::string::npos) return 0;
    words.erase(line.substr(0, space));
    if (line.starts_with("started ")) worker = ::atoi(line.c_str() + space);
  }
  return worker;
}

}  // namespace

TEST("R-044 a server is told once the agent is killed and nobody of its workers is left") {
  TempDir folder;
  Witness witness(folder);
  const NoticeServer server;
  const pid_t agent =
      startAgent(witness, {{"stubborn-daemon"}, {"ignore-term"}}, {}, server.notice("gone"));
  const pid_t worker = awaitAll(witness, {"daemon", "ready"});
  auto guardian = openPidfd(guardianOf(agent));
  const bool isHeld = isInCgroup(worker);

  killAndReap(agent);

  if (!isHeld) return tap::skip(kNeedsCgroup);
  Fd connection = server.accept();
  REQUIRE(connection);
  CHECK(!hasWriters(witness));
  char message[16] = "";
  CHECK_EQ(::recv(connection.get(), message, 4, MSG_WAITALL), 4);
  CHECK_EQ(std::string(message), "gone");
  CHECK_EQ(::recv(connection.get(), message, sizeof message, 0), 0);
  (void)::send(connection.get(), "ok", 2, MSG_NOSIGNAL);
  connection.reset();
  REQUIRE(guardian);
  CHECK(waitReadable(*guardian, kLong));
}

TEST("R-044 a server that can't be reached, or says nothing, doesn't keep the guardian") {
  TempDir folder;
  const NoticeServer mute;  // accepts, by the kernel, and answers nothing
  LastNotice nobody;
  nobody.address = NoticeServer().notice("").address;
  nobody.message = "gone";
  LastNotice nonsense{"\xff\xff and more", "gone"};
  for (const LastNotice& notice : {mute.notice("gone"), nobody, nonsense}) {
    Witness witness(folder);
    const pid_t agent = startAgent(witness, {{"ignore-term"}}, {}, notice);
    REQUIRE(awaitAll(witness, {"ready"}) > 0);
    auto guardian = openPidfd(guardianOf(agent));
    REQUIRE(guardian);

    killAndReap(agent);

    CHECK(waitReadable(*guardian, kLong));
    CHECK(!hasWriters(witness));
  }
}

TEST("R-044 while a worker is stuck no server is told that it's gone") {
  TempDir folder;
  Witness witness(folder);
  Freezer freezer(folder);
  if (!freezer) return tap::skip("needs root and the freezer of cgroup v1");
  const NoticeServer server;
  const pid_t agent = startAgent(witness, {{"ignore-term"}}, {}, server.notice("gone"));
  const pid_t stuck = awaitAll(witness, {"ready"});
  if (!isInCgroup(stuck)) {
    killAndReap(agent);
    return tap::skip(kNeedsCgroup);
  }
  REQUIRE(freezer.freeze(stuck));
  while (!freezer.frozen()) continue;

  killAndReap(agent);

  CHECK(!server.isTold(500ms));
  CHECK(hasWriters(witness));
  freezer.thaw();
  CHECK(server.isTold(kLong));
  CHECK(!hasWriters(witness));
}

TEST("R-044 where a process hides whose it is no server is told that nobody is left") {
  TempDir folder;
  DeadDisk disk(folder, "flush");
  if (!disk) return tap::skip(DeadDisk::kNeeds);
  Witness witness(folder);
  const NoticeServer server;
  REQUIRE(disk.sickProcess() > 0);
  const pid_t agent = startAgent(witness, {{"ignore-term"}}, {"cgroup"}, server.notice("gone"));
  REQUIRE(awaitAll(witness, {"ready"}) > 0);
  auto guardian = openPidfd(guardianOf(agent));
  REQUIRE(guardian);

  killAndReap(agent);

  CHECK(waitReadable(*guardian, kLong));
  CHECK(!server.isTold(0ms));
}

TAP_MAIN
