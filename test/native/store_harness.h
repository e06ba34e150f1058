#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/fd.h"
#include "core/store/server.h"
#include "test/native/tap.h"

/// A server with a table, and clients that speak bytes.
namespace store_harness {

using namespace regroup;
using namespace regroup::store;

/// A wait that takes this long has failed; it keeps a broken server from hanging the tests.
constexpr int kPatienceMs = 20'000;

/// A client's socket, blocking.
class Client {
 public:
  /// `socket`: one that was made before, if any.
  explicit Client(uint16_t port, const char* host = "127.0.0.1", Fd socket = {}) {
    union {
      sockaddr any;
      sockaddr_in v4;
      sockaddr_in6 v6;
    } address{};
    const bool v4 = ::inet_pton(AF_INET, host, &address.v4.sin_addr) == 1;
    if (v4) {
      address.v4.sin_family = AF_INET;
      address.v4.sin_port = htons(port);
    } else {
      ::inet_pton(AF_INET6, host, &address.v6.sin6_addr);
      address.v6.sin6_family = AF_INET6;
      address.v6.sin6_port = htons(port);
    }
    fd = socket ? std::move(socket)
                : Fd(::socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int one = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    const timeval patience{kPatienceMs / 1000, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (::connect(fd.get(), &address.any, v4 ? sizeof address.v4 : sizeof address.v6) < 0)
      error = errno;
  }

  Client& hello() {
    std::string out;
    appendHello(out, Dialect::D);
    return write(out);
  }

  Client& write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0) break;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return *this;
  }

  Client& request(const Request& request, Dialect dialect = Dialect::D) {
    std::string out;
    appendRequest(out, dialect, request);
    return write(out);
  }

  /// Exactly `size` bytes, or fewer where the connection ends or patience does.
  std::string read(size_t size) {
    std::string bytes(size, '\0');
    size_t have = 0;
    while (have < size) {
      const ssize_t got = ::recv(fd.get(), bytes.data() + have, size - have, 0);
      if (got <= 0) break;
      have += static_cast<size_t>(got);
    }
    bytes.resize(have);
    return bytes;
  }

  /// Reads until the server closes. False: it didn't.
  bool closed() {
    char bytes[65536];
    for (;;) {
      const ssize_t got = ::recv(fd.get(), bytes, sizeof bytes, 0);
      if (got == 0 || (got < 0 && errno == ECONNRESET)) return true;
      if (got < 0) return false;
    }
  }

  bool ping(uint32_t nonce = 7) {
    std::string answer;
    appendU32(answer, nonce);
    request({.op = Op::Ping, .nonce = nonce});
    return read(4) == answer;
  }

  uint16_t port() const {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
  }

  Fd fd;
  int error = 0;
};

/// A server with one table, and its log.
class World {
 public:
  explicit World(ServerOptions options = {}, std::vector<std::string> hosts = {"127.0.0.1"}) {
    options.onLog = [this](std::string_view line) {
      {
        const std::lock_guard lock(linesMutex_);
        lines_.emplace_back(line);
      }
      const uint64_t one = 1;
      (void)!::write(logged_.get(), &one, sizeof one);
    };
    auto created = StoreServer::create(std::move(options));
    if (!CHECK(created)) return;
    server = std::move(*created);
    const auto opened = server->openTable(hosts, 0);
    if (CHECK(opened)) address = *Result<TableAddress>(opened);
  }

  ~World() { server.reset(); }  // it logs until then

  Client connect() { return std::move(Client(address.port).hello()); }

  /// The next line of the log; waits for it.
  std::string nextLine() {
    pollfd ready{logged_.get(), POLLIN, 0};
    if (::poll(&ready, 1, kPatienceMs) != 1) return "no line came";
    uint64_t count;
    (void)!::read(logged_.get(), &count, sizeof count);
    const std::lock_guard lock(linesMutex_);
    std::string line = lines_.front();
    lines_.erase(lines_.begin());
    return line;
  }

  TableStats stats() { return server->stats(address.table); }

  TableAddress address{};
  std::unique_ptr<StoreServer> server;

 private:
  Fd logged_{::eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE)};
  std::mutex linesMutex_;
  std::vector<std::string> lines_;
};

inline std::string i64(int64_t value) {
  std::string out;
  appendI64(out, value);
  return out;
}

inline std::string vec(std::string_view value) {
  std::string out;
  appendString(out, value);
  return out;
}

/// The bytes of a request about one list.
inline std::string listRequest(Op op, std::initializer_list<std::string_view> strings,
                               Dialect dialect = Dialect::D) {
  std::string bytes;
  for (const std::string_view string : strings) appendString(bytes, string);
  std::string out;
  appendRequest(out, dialect, {.op = op, .list = {bytes, strings.size()}});
  return out;
}

inline const std::string kOk(1, '\0');

inline std::string bytesOf(const Request& request) {
  std::string out;
  appendRequest(out, Dialect::D, request);
  return out;
}

}  // namespace store_harness
