// Clients in one epoll loop.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

struct Client* clients = NULL;
uint32_t clientCount = 0;
struct Bytes out = {0};
void (*onReply)(struct Client* client) = NULL;

enum { kRestNs = 10000000 };

static int loop = -1;
static bool stopped = false;
static char input[256 << 10];

int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

void makeClients(uint32_t first, uint32_t count) {
  loop = epoll_create1(EPOLL_CLOEXEC);
  clients = calloc(count, sizeof *clients);
  if (loop < 0 || !clients) abort();
  clientCount = count;
  for (uint32_t i = 0; i < count; i++) clients[i].id = first + i, clients[i].fd = -1;
}

static void watch(struct Client* client, int how, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = client};
  if (epoll_ctl(loop, how, client->fd, &event) < 0) fail("epoll_ctl: %s", strerror(errno));
}

static void openSocket(struct Client* client, int flags) {
  client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  if (client->fd < 0) fail("socket: %s", strerror(errno));
  const int on = 1;
  setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);

  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
  inet_pton(AF_INET, options.host, &server.sin_addr);
  const int result = connect(client->fd, (struct sockaddr*)&server, sizeof server);
  if (result < 0 && errno != EINPROGRESS) fail("connect: %s", strerror(errno));
}

void connectClient(struct Client* client) {
  openSocket(client, SOCK_NONBLOCK);
  client->connecting = true;
  watch(client, EPOLL_CTL_ADD, EPOLLOUT);
}

static void finishConnect(struct Client* client) {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) fail("connect: %s", strerror(error));
  client->connecting = false;
  watch(client, EPOLL_CTL_MOD, EPOLLIN);
}

void closeClients(void) {
  for (uint32_t i = 0; i < clientCount; i++)
    if (clients[i].fd >= 0) close(clients[i].fd);
}

void sendSilent(struct Client* client) {
  for (size_t sent = 0; sent < out.size;) {
    const ssize_t n = send(client->fd, out.data + sent, out.size - sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) fail("send: %s", strerror(errno));
    if (n > 0) sent += (size_t)n;
    if (sent == out.size) break;
    struct pollfd writable = {.fd = client->fd, .events = POLLOUT};
    poll(&writable, 1, -1);
  }
  out.size = 0;
}

void sendRequest(struct Client* client, struct Replies replies) {
  client->reader.left = replies;
  sendSilent(client);
}

bool sendHello(struct Client* client) {
  if (dialect == kDialectA) return false;
  // Two sends, as in torch's client, which then waits.
  putValidate(&out);
  sendSilent(client);
  putPing(&out);
  sendRequest(client, (struct Replies){kNonce, 1, 0});
  return true;
}

/// Reads once. True: all that it awaits is there.
static bool receive(struct Client* client) {
  const ssize_t size = recv(client->fd, input, sizeof input, 0);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (size < 0) fail("recv: %s", strerror(errno));
  if (size == 0) fail("the server has closed client %u's connection", client->id);
  for (size_t at = 0; at < (size_t)size;)
    at += readReply(&client->reader, input + at, (size_t)size - at);
  return client->reader.left.count == 0;
}

/// Those that rest: as all rest as long, the first to begin is the first to end. A ring.
static struct Resting {
  struct Client* client;
  int64_t until;
}* resting = NULL;
static uint32_t firstResting = 0, restingCount = 0;

void callLater(struct Client* client) {
  if (!resting) resting = calloc(clientCount, sizeof *resting);
  resting[(firstResting + restingCount++) % clientCount] =
      (struct Resting){client, now() + kRestNs};
}

/// Milliseconds until the next has to be called; -1: there's none.
static int callRested(void) {
  while (restingCount > 0) {
    const struct Resting next = resting[firstResting];
    const int64_t left = next.until - now();
    if (left > 0) return (int)(left / 1000000) + 1;
    firstResting = (firstResting + 1) % clientCount;
    restingCount--;
    onReply(next.client);
  }
  return -1;
}

void runLoop(void) {
  struct epoll_event events[512];
  stopped = false;
  while (!stopped) {
    const int count = epoll_wait(loop, events, 512, callRested());
    if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
      struct Client* client = events[i].data.ptr;
      if (client->connecting)
        finishConnect(client);
      else if (!receive(client))
        continue;
      onReply(client);
    }
  }
}

void stopLoop(void) {
  stopped = true;
}

void awaitReply(struct Client* client) {
  while (!receive(client)) {
  }
}

void connectAlone(struct Client* client) {
  openSocket(client, 0);
  if (sendHello(client)) awaitReply(client);
}

// ---- gather ------------------------------------------------------------------------------------

static uint32_t begun, present;
static bool addsInit;

static void beginNext(void) {
  if (begun < clientCount) connectClient(&clients[begun++]);
}

static void onGathered(struct Client* client) {
  enum { kConnected, kHello, kInit };
  switch (client->step) {
    case kConnected:
      client->step = kHello;
      if (sendHello(client)) return;
      // fall through
    case kHello:
      client->step = kInit;
      if (addsInit) {
        putAdd(&out, "init/", 1);
        sendRequest(client, (struct Replies){kNumber, 1, 0});
        return;
      }
  }
  client->step = 0;
  if (++present == clientCount)
    stopLoop();
  else
    beginNext();
}

void gather(uint32_t atOnce, bool addInit) {
  void (*const outer)(struct Client*) = onReply;
  onReply = onGathered;
  addsInit = addInit;
  for (uint32_t i = 0; i < atOnce; i++) beginNext();
  runLoop();
  onReply = outer;
}
