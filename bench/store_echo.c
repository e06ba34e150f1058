// The floor under a store: an epoll server that answers so many bytes by so many.
//
//   store_echo HELLO:REPLY REQUEST:REPLY…    bytes of each; all but the hello over and over again
//
// Says `ready HOST:PORT`, and ends when stdin does.
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { kMaxPairs = 8, kMaxDescriptors = 1 << 16, kBytes = 64 << 10 };

static struct Pair { size_t request, reply; } pairs[kMaxPairs];
static int pairCount = 0;

/// By descriptor.
static struct {
  size_t have;
  int pair;
} connections[kMaxDescriptors];

static char input[kBytes], output[kBytes];

/// The reply to what has come, as far as it fits. @return its bytes
static size_t answer(int fd, size_t size) {
  size_t reply = 0;
  connections[fd].have += size;
  for (;;) {
    const struct Pair pair = pairs[connections[fd].pair];
    if (connections[fd].have < pair.request) return reply;
    if (reply + pair.reply > sizeof output) abort();
    connections[fd].have -= pair.request;
    if (++connections[fd].pair == pairCount) connections[fd].pair = 1;
    reply += pair.reply;
  }
}

static void serve(int fd) {
  const ssize_t size = recv(fd, input, sizeof input, 0);
  if (size < 0 && errno == EAGAIN) return;
  if (size <= 0) {
    close(fd);
    return;
  }
  const size_t reply = answer(fd, (size_t)size);
  // One in flight per client, or a batch: less than a socket's buffer holds.
  if (reply > 0 && send(fd, output, reply, MSG_NOSIGNAL) != (ssize_t)reply) close(fd);
}

static void acceptAll(int listener, int loop) {
  for (int i = 0; i < 64; i++) {
    const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (fd >= kMaxDescriptors) abort();
    memset(&connections[fd], 0, sizeof connections[fd]);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
  }
}

int main(int argc, char** argv) {
  for (int i = 1; i < argc && pairCount < kMaxPairs; i++, pairCount++)
    if (sscanf(argv[i], "%zu:%zu", &pairs[pairCount].request, &pairs[pairCount].reply) != 2)
      return 2;
  if (pairCount < 2) return 2;

  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // those accepted inherit it
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  if (bind(listener, (struct sockaddr*)&address, size) < 0 || listen(listener, INT_MAX) < 0 ||
      getsockname(listener, (struct sockaddr*)&address, &size) < 0)
    return 1;

  const int loop = epoll_create1(EPOLL_CLOEXEC);
  const int watched[] = {0, listener};
  for (int i = 0; i < 2; i++) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = watched[i]};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, watched[i], &event) < 0) return 1;
  }
  printf("ready 127.0.0.1:%d\n", ntohs(address.sin_port));
  fflush(stdout);

  for (;;) {
    struct epoll_event events[512];
    const int count = epoll_wait(loop, events, 512, -1);
    for (int i = 0; i < count; i++) {
      const int fd = events[i].data.fd;
      if (fd == listener)
        acceptAll(listener, loop);
      else if (fd == 0 && read(0, input, sizeof input) <= 0)
        return 0;
      else if (fd != 0)
        serve(fd);
    }
  }
}
