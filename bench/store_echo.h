// What both echo servers do with messages: answer so many bytes by so many.
#include <arpa/inet.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>

enum { kMaxPairs = 8, kMaxDescriptors = 1 << 16, kBytes = 64 << 10 };

static struct Pair { size_t request, reply; } pairs[kMaxPairs];
static int pairCount = 0;

/// By descriptor.
static struct {
  size_t have;
  int pair;
} connections[kMaxDescriptors];

/// The reply to what has come, as far as it fits. @return its bytes
static size_t answer(int fd, size_t size) {
  size_t reply = 0;
  connections[fd].have += size;
  for (;;) {
    const struct Pair pair = pairs[connections[fd].pair];
    if (connections[fd].have < pair.request) return reply;
    if (reply + pair.reply > kBytes) abort();
    connections[fd].have -= pair.request;
    if (++connections[fd].pair == pairCount) connections[fd].pair = 1;
    reply += pair.reply;
  }
}

/// Reads the arguments `HELLO:REPLY REQUEST:REPLY…`. @return 0 if there are two at least
static int readPairs(int argc, char** argv) {
  for (int i = 1; i < argc && pairCount < kMaxPairs; i++, pairCount++)
    if (sscanf(argv[i], "%zu:%zu", &pairs[pairCount].request, &pairs[pairCount].reply) != 2)
      return -1;
  return pairCount < 2 ? -1 : 0;
}

/// @param flags SOCK_…, of the socket. @return a listening descriptor, its port already told; or -1
static int listenAnywhere(int flags) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  const int on = 1;
  setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // those accepted inherit it
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  if (bind(listener, (struct sockaddr*)&address, size) < 0 || listen(listener, INT_MAX) < 0 ||
      getsockname(listener, (struct sockaddr*)&address, &size) < 0)
    return -1;
  printf("ready 127.0.0.1:%d\n", ntohs(address.sin_port));
  fflush(stdout);
  return listener;
}
