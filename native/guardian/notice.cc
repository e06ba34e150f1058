#include "guardian/notice.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "core/base/raw.h"
#include "guardian/groups.h"
#include "guardian/text.h"

using regroup::rawCall;

namespace guardian {

namespace {

/// The server ends by itself soon afterwards what was the agent's.
constexpr long kPatienceMs = 1000;
constexpr size_t kMostBytes = 256;

struct Bytes {
  char data[kMostBytes];
  size_t size;
};

alignas(8) Bytes address;
Bytes message;  // none: there's nothing to tell

int digitOf(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/// @returns what follows the digits
const char* readBytes(const char* at, const char* end, Bytes& bytes) {
  bytes.size = 0;
  for (; at + 1 < end && bytes.size < kMostBytes; at += 2) {
    const int high = digitOf(at[0]);
    const int low = digitOf(at[1]);
    if (high < 0 || low < 0) break;
    bytes.data[bytes.size++] = static_cast<char>(high << 4 | low);
  }
  return at;
}

/// Until it's ready for one of these events. @returns false: the time is over, or it has failed
bool await(long socket, short events, long until) {
  for (long left; (left = until - nowMs()) > 0;) {
    pollfd poll{static_cast<int>(socket), events, 0};
    const timespec atMost{left / 1000, left % 1000 * 1'000'000};
    if (rawCall(SYS_ppoll, pointer(&poll), 1, pointer(&atMost), 0, 0) > 0)
      return (poll.revents & events) != 0;
  }
  return false;
}

bool isPassing(long error) {
  return error == -EAGAIN || error == -EINTR;
}

bool send(long socket, long until) {
  for (size_t sent = 0; sent < message.size;) {
    if (!await(socket, POLLOUT, until)) return false;
    const long size =
        rawCall(SYS_sendto, socket, pointer(message.data + sent),
                static_cast<long>(message.size - sent), MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0);
    if (size < 0 && !isPassing(size)) return false;
    if (size > 0) sent += static_cast<size_t>(size);
  }
  return true;
}

/// Until the server has read all, and closes: what's sent may be lost with a connection that is
/// closed before that.
void hearEnd(long socket, long until) {
  char ignored[256];
  rawCall(SYS_shutdown, socket, SHUT_WR);
  while (await(socket, POLLIN, until)) {
    const long size = rawCall(SYS_recvfrom, socket, pointer(ignored), sizeof ignored, MSG_DONTWAIT);
    if (size == 0 || (size < 0 && !isPassing(size))) return;
  }
}

}  // namespace

void setNotice(const char* text, size_t bytes) {
  const char* const end = text + bytes;
  const char* const rest = readBytes(text, end, address);
  message.size = 0;
  if (address.size > sizeof(uint16_t) && rest < end && *rest == ' ')
    readBytes(rest + 1, end, message);
}

void giveNotice() {
  if (message.size == 0) return;
  const long until = nowMs() + kPatienceMs;
  const long family = reinterpret_cast<const sockaddr*>(address.data)->sa_family;
  const long socket = rawCall(SYS_socket, family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket < 0) return;
  const long connected =
      rawCall(SYS_connect, socket, pointer(address.data), static_cast<long>(address.size));
  if ((connected == 0 || connected == -EINPROGRESS) && send(socket, until)) hearEnd(socket, until);
  rawCall(SYS_close, socket);
}

}  // namespace guardian
