#include "core/shm/shm_handover.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "core/shm/shm_client.h"

namespace regroup::shm {

namespace {

bool addressOf(const char* name, sockaddr_un& address, socklen_t& size) {
  const size_t length = ::strlen(name);
  if (length == 0 || length >= sizeof address.sun_path) return false;
  address = {};
  address.sun_family = AF_UNIX;
  ::memcpy(address.sun_path, name, length);
  size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (name[0] == '@')
    address.sun_path[0] = 0;
  else
    size++;
  return true;
}

int dial(const char* name, uint32_t timeoutMs, Handed& handed) {
  sockaddr_un address;
  socklen_t size;
  if (!addressOf(name, address, size)) return REGROUP_SHM_EARGUMENT;
  handed.socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (handed.socket < 0) return REGROUP_SHM_ESYSTEM;
  // 0 would mean for ever.
  const timeval patience{timeoutMs / 1000, timeoutMs == 0 ? 1 : timeoutMs % 1000 * 1000};
  (void)::setsockopt(handed.socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  (void)::setsockopt(handed.socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (::connect(handed.socket, reinterpret_cast<sockaddr*>(&address), size) < 0)
    return errno == EAGAIN ? REGROUP_SHM_TIMED_OUT : REGROUP_SHM_ESYSTEM;

  // A name in the abstract namespace is anybody's who is first.
  ucred server{};
  socklen_t bytes = sizeof server;
  if (::getsockopt(handed.socket, SOL_SOCKET, SO_PEERCRED, &server, &bytes) < 0)
    return REGROUP_SHM_ESYSTEM;
  return server.uid == ::geteuid() ? REGROUP_SHM_OK : REGROUP_SHM_EUSER;
}

int takeHello(Handed& handed) {
  Hello hello{};
  iovec part{&hello, sizeof hello};
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t size = ::recvmsg(handed.socket, &message, MSG_CMSG_CLOEXEC);
  if (size == 0 || (size < 0 && errno == ECONNRESET)) return REGROUP_SHM_ECLOSED;
  if (size < 0) return errno == EAGAIN ? REGROUP_SHM_TIMED_OUT : REGROUP_SHM_ESYSTEM;
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
    int fds[2] = {-1, -1};
    // As many as came; the kernel closes those beyond our room.
    ::memcpy(fds, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
    handed.segment = fds[0];
    handed.lane = fds[1];
  }
  if (size != static_cast<ssize_t>(sizeof hello) || hello.magic != kHelloMagic)
    return REGROUP_SHM_EFORMAT;
  if (hello.version != kLaneVersion) return REGROUP_SHM_EVERSION;
  return handed.lane < 0 ? REGROUP_SHM_EFORMAT : REGROUP_SHM_OK;
}

}  // namespace

int takeHandover(const char* name, uint32_t timeoutMs, Handed& handed) {
  const int answer = dial(name, timeoutMs, handed);
  return answer == REGROUP_SHM_OK ? takeHello(handed) : answer;
}

int mapLane(int fd, std::byte** memory) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || !(seals & F_SEAL_SHRINK)) return REGROUP_SHM_EFORMAT;
  if (::lseek(fd, 0, SEEK_END) != static_cast<off_t>(kLaneBytes)) return REGROUP_SHM_EFORMAT;
  void* const mapped = ::mmap(nullptr, kLaneBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) return REGROUP_SHM_ESYSTEM;
  const Lane& lane = *static_cast<const Lane*>(mapped);
  int answer = REGROUP_SHM_OK;
  if (lane.magic != kLaneMagic)
    answer = REGROUP_SHM_EFORMAT;
  else if (lane.version != kLaneVersion)
    answer = REGROUP_SHM_EVERSION;
  else if (lane.headerBytes != sizeof(Lane) || lane.laneBytes != kLaneBytes ||
           lane.requestOffset != kRequestOffset || lane.replyOffset != kReplyOffset ||
           lane.ringBytes != kRingBytes)
    answer = REGROUP_SHM_EFORMAT;
  if (answer == REGROUP_SHM_OK)
    *memory = static_cast<std::byte*>(mapped);
  else
    ::munmap(mapped, kLaneBytes);
  return answer;
}

}  // namespace regroup::shm
