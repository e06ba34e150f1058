// The floor under a store: an epoll server that answers so many bytes by so many.
//
//   store_echo HELLO:REPLY REQUEST:REPLY…    bytes of each; all but the hello over and over again
//
// Says `ready HOST:PORT`, and ends when stdin does.
#include "store_echo.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static char input[kBytes], output[kBytes];

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
  if (readPairs(argc, argv) < 0) return 2;
  const int listener = listenAnywhere(SOCK_NONBLOCK);
  if (listener < 0) return 1;

  const int loop = epoll_create1(EPOLL_CLOEXEC);
  const int watched[] = {0, listener};
  for (int i = 0; i < 2; i++) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = watched[i]};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, watched[i], &event) < 0) return 1;
  }

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
