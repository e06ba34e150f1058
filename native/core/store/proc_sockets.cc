#include "core/store/proc_sockets.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string_view>
#include <utility>

#include "core/base/own_proc.h"
#include "core/base/proc.h"
#include "core/base/syscall.h"
#include "core/base/thread.h"
#include "core/store/occasion.h"

namespace regroup::store {

namespace {

/// Processes that are looked at for one worker; a data loader's don't connect to anything.
constexpr size_t kProcesses = 64;
constexpr size_t kTableBytes = 16 << 20;
/// @source Linux, include/net/tcp_states.h
constexpr unsigned kListens = 10;
/// A search that hasn't looked at one more process by then is stuck.
constexpr std::chrono::milliseconds kStuck{50};

struct TcpSocket {
  uint64_t inode;
  unsigned port;
  unsigned state;
};

/// The TCP sockets that are connected, or about to be, or that listen.
std::vector<TcpSocket> tcpSockets() {
  std::vector<TcpSocket> sockets;
  for (const char* path : {"/proc/self/net/tcp", "/proc/self/net/tcp6"}) {
    auto text = readFile(path, kTableBytes);
    if (!text) continue;
    // @source proc_pid_net(5): local address and port, remote ones, state, …; the inode is the
    // tenth
    for (size_t at = text->find('\n'); at != std::string::npos; at = text->find('\n', at + 1)) {
      unsigned port = 0;
      unsigned state = 0;
      unsigned long long inode = 0;
      constexpr char kFields[] = " %*[0-9]: %*[0-9A-F]:%x %*[0-9A-F:] %x %*s %*s %*s %*s %*s %llu";
      if (::sscanf(text->c_str() + at, kFields, &port, &state, &inode) == 3)
        sockets.push_back({inode, port, state});
    }
  }
  return sockets;
}

/// Calls `visit` with the inode and the path of each socket that a process has open.
template <typename Visit>
void forEachSocket(pid_t pid, Visit visit) {
  const std::string folder = procPath(pid, "fd");
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::opendir(folder.c_str()), ::closedir);
  if (!entries) return;
  while (const dirent* entry = ::readdir(entries.get())) {
    const std::string path = folder + "/" + entry->d_name;
    char target[64] = "";
    unsigned long long inode = 0;
    if (::readlink(path.c_str(), target, sizeof target - 1) < 0) continue;  // `.`, or closed
    if (::sscanf(target, "socket:[%llu]", &inode) == 1) visit(uint64_t{inode}, path);
  }
}

bool isTcp(const std::string& path) {
  char protocol[16] = "";
  // What lsof asks, too; the socket's own link doesn't tell its kind.
  const ssize_t size =
      ::getxattr(path.c_str(), "system.sockprotoname", protocol, sizeof protocol - 1);
  return size > 0 && ::strncmp(protocol, "TCP", 3) == 0;
}

struct OpenSocket {
  pid_t worker;  // whose it is, or whose descendant's
  pid_t pid;
  uint64_t inode;
  int fd;
};

/// The number at the end of a path.
int numberIn(const std::string& path) {
  return std::atoi(path.c_str() + path.rfind('/') + 1);
}

/// The network namespace of a process or thread, by the path of its folder; 0: it can't be told.
ino_t networkOf(const std::string& folder) {
  auto network = openFile((folder + "/ns/net").c_str(), O_RDONLY);
  if (!network) return 0;
  auto identity = identify(network->get());
  return identity ? identity->inode : 0;
}

/// Nothing: it has been closed, or may not be asked.
std::optional<uint64_t> cookieOf(const OpenSocket& socket) {
  auto pidfd = openPidfd(socket.pid);
  if (!pidfd) return std::nullopt;
  auto copy = copyFd(*pidfd, socket.fd);
  if (!copy) return std::nullopt;
  // Its number may be another file's by now.
  auto identity = identify(copy->get());
  if (!identity || identity->inode != socket.inode) return std::nullopt;
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (::getsockopt(copy->get(), SOL_SOCKET, SO_COOKIE, &cookie, &size) < 0) return std::nullopt;
  return cookie;
}

/// The process and those it has started, down to the last.
std::vector<pid_t> familyOf(pid_t pid) {
  std::vector<pid_t> family{pid};
  for (size_t i = 0; i < family.size() && family.size() < kProcesses; i++) {
    const std::string tasks = procPath(family[i], "task/");
    for (const pid_t thread : threadsOf(family[i])) {
      auto children = readFile((tasks + std::to_string(thread) + "/children").c_str(), 64 << 10);
      if (!children) continue;
      const char* at = children->c_str();
      for (char* end;; at = end) {
        const long child = ::strtol(at, &end, 10);
        if (end == at) break;
        if (family.size() < kProcesses) family.push_back(static_cast<pid_t>(child));
      }
    }
  }
  return family;
}

/// A search through all processes, by several threads if need be.
struct PortSearch {
  std::set<uint64_t> listeners;
  std::vector<pid_t> pids;
  std::atomic<size_t> next{0};
  std::atomic<size_t> looked{0};
  std::mutex holderMutex;
  std::optional<PortHolder> holder;  // guarded by holderMutex
  Occasion done;

  explicit PortSearch(uint16_t port) {
    for (const TcpSocket& socket : tcpSockets()) {
      if (socket.port == port && socket.state == kListens) listeners.insert(socket.inode);
    }
    pids = allProcesses();
  }

  void run() {
    for (size_t i; (i = next++) < pids.size();) {
      bool isHolder = false;
      forEachSocket(pids[i], [&](uint64_t inode, const std::string&) {
        isHolder = isHolder || listeners.contains(inode);
      });
      if (isHolder) {
        auto command = readFile(procPath(pids[i], "comm").c_str(), 64);
        const std::lock_guard lock(holderMutex);
        holder.emplace(PortHolder{pids[i], command ? command->substr(0, command->find('\n')) : ""});
      }
      if (++looked == pids.size() || isHolder) done.tell();
    }
  }
};

}  // namespace

Owners findOwners(const std::vector<pid_t>& pids) {
  Owners owners;
  // Under the workers' numbers it may list others.
  if (!procIsOurs()) return owners;
  const auto network = networkOf("/proc/thread-self");
  std::vector<OpenSocket> open;
  for (const pid_t worker : pids) {
    for (const pid_t pid : familyOf(worker)) {
      // Before Linux 5.10 cookies are counted by each network.
      if (networkOf(procPath(pid, "")) != network) continue;
      forEachSocket(pid, [&](uint64_t inode, const std::string& path) {
        if (isTcp(path)) open.push_back({worker, pid, inode, numberIn(path)});
      });
    }
  }
  // Afterwards: what has been connected meanwhile isn't unconnected, and is left alone.
  std::set<uint64_t> connected;
  for (const TcpSocket& socket : tcpSockets()) connected.insert(socket.inode);
  for (const OpenSocket& socket : open) {
    if (connected.contains(socket.inode)) continue;
    if (const auto cookie = cookieOf(socket)) owners[*cookie] = socket.worker;
  }
  return owners;
}

Result<void> probeCookies() {
  const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return Error{"socket", errno};
  auto self = openPidfd(::getpid());
  if (!self) return self.error();
  auto copy = copyFd(*self, socket.get());
  if (!copy) return copy.error();
  return {};
}

std::optional<PortHolder> findPortHolder(uint16_t port, std::chrono::milliseconds limit) {
  const auto search = std::make_shared<PortSearch>(port);
  if (search->listeners.empty()) return std::nullopt;
  const auto until = std::chrono::steady_clock::now() + limit;
  size_t before = 0;  // as if none had got on: the first thread is needed, too
  while (std::chrono::steady_clock::now() < until) {
    // Whoever keeps a thread waiting costs us that one; another goes on with the next process.
    const size_t looked = search->looked;
    if (std::exchange(before, looked) == looked) {
      auto thread = Thread::start([search] { search->run(); });
      if (thread) thread->leave();
    }
    if (search->done.wait(kStuck)) break;
  }
  const std::lock_guard lock(search->holderMutex);
  return search->holder;
}

}  // namespace regroup::store
