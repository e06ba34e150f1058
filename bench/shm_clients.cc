// Samples of a store's operations, from C: over shared memory, over TCP, and of an echo over a Unix
// socket, in turns. `shm_clients serve` serves a store and an echo, and says where; `shm_clients
// @STORE PORT @ECHO ROUNDS` measures, and prints a line `OPERATION TRANSPORT NANOSECONDS…` for
// each.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/shm/shm_client.h"
#include "core/store/protocol.h"
#include "core/store/server.h"

using namespace regroup::store;

namespace {

constexpr uint32_t kMs = 10'000;
constexpr int kPerRound = 100;
/// An operation of less than a clock's call is timed in so many at once.
constexpr int kBatch = 100;

std::map<std::string, std::vector<double>> samples;

[[noreturn]] void die(const char* what) {
  ::perror(what);
  ::exit(1);
}

void check(bool right, const char* what) {
  if (!right) die(what);
}

int64_t nowNs() {
  timespec time;
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

sockaddr_un abstractName(const std::string& name, socklen_t& size) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ::memcpy(address.sun_path + 1, name.data() + 1, name.size() - 1);
  size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  return address;
}

struct Stream {
  explicit Stream(int fd) : fd(fd) {}

  void send(std::string_view bytes) const {
    check(
        ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()),
        "send");
  }
  void receive(void* to, size_t bytes) const {
    check(::recv(fd, to, bytes, MSG_WAITALL) == static_cast<ssize_t>(bytes), "recv");
  }
  int fd;
};

Stream dialTcp(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  check(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "connect");
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const Stream stream(fd);
  std::string hello;
  appendHello(hello, Dialect::D);
  stream.send(hello);
  return stream;
}

Stream dialEcho(const std::string& name) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  socklen_t size;
  const sockaddr_un address = abstractName(name, size);
  check(::connect(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0, "connect");
  return Stream(fd);
}

/// Each message begins with its own length and the reply's.
void echo(int fd) {
  uint32_t sizes[2];
  char bytes[256];
  while (::recv(fd, sizes, sizeof sizes, MSG_WAITALL) == sizeof sizes) {
    const size_t rest = sizes[0] - sizeof sizes;
    check(rest <= sizeof bytes && sizes[1] <= sizeof bytes, "sizes");
    if (rest > 0 && ::recv(fd, bytes, rest, MSG_WAITALL) != static_cast<ssize_t>(rest)) return;
    if (sizes[1] > 0) ::send(fd, bytes, sizes[1], MSG_NOSIGNAL);
  }
}

int serve() {
  const std::string name = "@regroup-bench-" + std::to_string(::getpid());
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  socklen_t size;
  const sockaddr_un address = abstractName(name, size);
  check(::bind(listener, reinterpret_cast<const sockaddr*>(&address), size) == 0, "bind");
  check(::listen(listener, 1) == 0, "listen");
  if (::fork() == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
      const int fd = ::accept(listener, nullptr, nullptr);
      echo(fd);
      ::close(fd);
    }
  }
  ServerOptions options;
  options.sharedMemory.offered = true;
  auto server = StoreServer::create(std::move(options));
  const std::string hosts[] = {"127.0.0.1"};
  auto table = (*server)->openTable(hosts, 0);
  ::printf("ready %s %d %s\n", table->local.c_str(), table->port, name.c_str());
  ::fflush(stdout);
  char byte;
  while (::read(0, &byte, 1) > 0) {
  }
  return 0;
}

std::string requestOf(Op op, std::string_view key, std::string_view value = {}) {
  std::string out;
  Request request{.op = op, .number = 1, .key = key, .value = value};
  std::string list;
  if (op == Op::Wait) {
    appendString(list, key);
    request.list = Strings(list, 1);
  }
  appendRequest(out, Dialect::D, request);
  return out;
}

void measure(
    const char* what, int count, int batch, const std::function<void()>& operation,
    const std::function<void()>& afterwards = [] {}) {
  for (int i = 0; i < count; i++) {
    const int64_t begun = nowNs();
    for (int j = 0; j < batch; j++) operation();
    samples[what].push_back(static_cast<double>(nowNs() - begun) / batch);
    afterwards();
  }
}

/// An exchange of as many bytes as the request and its reply have.
std::function<void()> echoing(const Stream& stream, size_t sent, uint32_t reply) {
  std::string message(std::max(sent, size_t{8}), '.');
  const uint32_t sizes[2] = {static_cast<uint32_t>(message.size()), reply};
  ::memcpy(message.data(), sizes, sizeof sizes);
  return [stream, message, reply] {
    char bytes[256];
    stream.send(message);
    if (reply > 0) stream.receive(bytes, reply);
  };
}

/// What a waiting process tells: which turn it has seen, and when.
struct Seen {
  std::atomic<int> turn;
  std::atomic<int64_t> ns;
};

/// How long from before a set until another process, asleep in a wait, has the value.
void measureWakes(const char* what, int count, const std::function<void(const std::string&)>& set,
                  const std::function<void(const std::string&)>& wait,
                  const std::function<void()>& connect) {
  static int begun = 0;
  auto* const seen = static_cast<Seen*>(
      ::mmap(nullptr, sizeof(Seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const int first = begun;
  begun += count;
  const auto keyOf = [&](int turn) { return "wake " + std::to_string(turn) + what; };
  const pid_t waiter = ::fork();
  if (waiter == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    connect();
    seen->turn = 1;
    for (int i = 0; i < count; i++) {
      wait(keyOf(first + i));
      seen->ns = nowNs();
      seen->turn = i + 2;
    }
    ::_exit(0);
  }
  while (seen->turn == 0) ::usleep(50);
  for (int i = 0; i < count; i++) {
    ::usleep(300);  // asleep by then
    const int64_t told = nowNs();
    set(keyOf(first + i));
    while (seen->turn < i + 2) ::usleep(50);
    samples[what].push_back(static_cast<double>(seen->ns - told));
  }
  ::waitpid(waiter, nullptr, 0);
  ::munmap(seen, sizeof(Seen));
}

regroup_shm_client* dialShm(const char* name) {
  regroup_shm_client* client = nullptr;
  check(::regroup_shm_connect(name, kMs, &client) == REGROUP_SHM_OK, "regroup_shm_connect");
  return client;
}

void turn(const char* name, int port, regroup_shm_client* shm, const Stream& tcp,
          const Stream& echoes) {
  const std::string_view key = "/hot";
  const std::string_view value = "0123456789abcdef";
  char bytes[64];
  size_t size = 0;
  int64_t sum = 0;
  const auto shmGet = [&] {
    check(::regroup_shm_client_get(shm, key.data(), key.size(), bytes, sizeof bytes, &size, kMs) ==
                  REGROUP_SHM_OK &&
              size == value.size(),
          "get");
  };
  const auto shmSet = [&](std::string_view at) {
    check(::regroup_shm_set(shm, at.data(), at.size(), value.data(), value.size(), kMs) ==
              REGROUP_SHM_OK,
          "set");
  };
  const std::string get = requestOf(Op::Get, key);
  const std::string set = requestOf(Op::Set, key, value);
  const std::string add = requestOf(Op::Add, "/count");
  const auto tcpGet = [&] {
    tcp.send(get);
    tcp.receive(bytes, 8 + value.size());
  };

  shmSet(key);
  measure("get regroup", kPerRound, kBatch, shmGet);
  measure("get tcp", kPerRound, 1, tcpGet);
  measure("get unix", kPerRound, 1, echoing(echoes, get.size(), 24));

  measure(
      "set regroup", kPerRound, 1, [&] { shmSet(key); },
      [&] { check(::regroup_shm_settle(shm, kMs) == REGROUP_SHM_OK, "settle"); });
  measure(
      "set tcp", kPerRound, 1, [&] { tcp.send(set); }, tcpGet);
  measure("set unix", kPerRound, 1, echoing(echoes, set.size(), 0), echoing(echoes, 8, 8));

  measure("add regroup", kPerRound, 1, [&] {
    check(::regroup_shm_add(shm, "/count", 6, 1, &sum, kMs) == REGROUP_SHM_OK, "add");
  });
  measure("add tcp", kPerRound, 1, [&] {
    tcp.send(add);
    tcp.receive(bytes, 8);
  });
  measure("add unix", kPerRound, 1, echoing(echoes, add.size(), 8));

  regroup_shm_client* waiter = nullptr;
  measureWakes(
      "wake regroup", kPerRound, shmSet,
      [&](const std::string& at) {
        check(::regroup_shm_client_get(waiter, at.data(), at.size(), bytes, sizeof bytes, &size,
                                       kMs) == REGROUP_SHM_OK,
              "wait");
      },
      [&] { waiter = dialShm(name); });
  int waiting = -1;
  measureWakes(
      "wake tcp", kPerRound,
      [&](const std::string& at) { tcp.send(requestOf(Op::Set, at, value)); },
      [&](const std::string& at) {
        Stream(waiting).send(requestOf(Op::Wait, at));
        Stream(waiting).receive(bytes, 1);
      },
      [&] { waiting = dialTcp(port).fd; });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2) return serve();
  if (argc != 5) return 2;
  regroup_shm_client* const shm = dialShm(argv[1]);
  const Stream tcp = dialTcp(::atoi(argv[2]));
  const Stream echoes = dialEcho(argv[3]);
  const int rounds = ::atoi(argv[4]);
  for (int round = -1; round < rounds; round++) {
    turn(argv[1], ::atoi(argv[2]), shm, tcp, echoes);
    if (round < 0) samples.clear();  // that was to warm up
  }
  for (const auto& [what, values] : samples) {
    ::printf("%s", what.c_str());
    for (const double ns : values) ::printf(" %.0f", ns);
    ::printf("\n");
  }
  return 0;
}
