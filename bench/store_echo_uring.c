// What store_echo.c does, with io_uring for epoll: accepting and receiving without a system call
// for each.
//
//   store_echo_uring HELLO:REPLY REQUEST:REPLY…    as store_echo
//
// One ring; multishot accept, multishot recv into buffers that the kernel picks, replies sent
// through the ring. Needs Linux 6.0 and liburing.
#include "store_echo.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <unistd.h>

enum { kEntries = 4096, kBuffers = 4096, kBufferBytes = 4096 };
enum Kind { kAccept, kReceive, kSend, kEnd };

static struct io_uring ring;
static struct io_uring_buf_ring* buffers;
static char space[kBuffers][kBufferBytes], output[kBytes];

static struct io_uring_sqe* entry(void) {
  for (;; io_uring_submit(&ring)) {
    struct io_uring_sqe* found = io_uring_get_sqe(&ring);
    if (found) return found;
  }
}

static void tag(struct io_uring_sqe* made, enum Kind kind, int fd) {
  made->user_data = (uint64_t)kind << 32 | (uint32_t)fd;
}

static void acceptAll(int listener) {
  struct io_uring_sqe* made = entry();
  io_uring_prep_multishot_accept(made, listener, NULL, NULL, SOCK_CLOEXEC);
  tag(made, kAccept, listener);
}

static void receiveAll(int fd) {
  struct io_uring_sqe* made = entry();
  io_uring_prep_recv_multishot(made, fd, NULL, 0, 0);
  made->flags |= IOSQE_BUFFER_SELECT;
  made->buf_group = 0;
  tag(made, kReceive, fd);
}

static void onReceived(const struct io_uring_cqe* completion, int fd) {
  if (completion->res > 0) {
    const int id = completion->flags >> IORING_CQE_BUFFER_SHIFT;
    io_uring_buf_ring_add(buffers, space[id], kBufferBytes, id, io_uring_buf_ring_mask(kBuffers),
                          0);
    io_uring_buf_ring_advance(buffers, 1);
    const size_t reply = answer(fd, (size_t)completion->res);
    if (reply > 0) {
      struct io_uring_sqe* made = entry();
      io_uring_prep_send(made, fd, output, reply, MSG_NOSIGNAL | MSG_WAITALL);
      made->flags |= IOSQE_CQE_SKIP_SUCCESS;
      tag(made, kSend, fd);
    }
  }
  if (completion->res == -ENOBUFS ||
      (completion->res > 0 && !(completion->flags & IORING_CQE_F_MORE)))
    receiveAll(fd);
  else if (completion->res <= 0)
    close(fd);
}

int main(int argc, char** argv) {
  if (readPairs(argc, argv) < 0) return 2;

  struct io_uring_params params = {
      .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
      .cq_entries = 8 * kEntries};
  if (io_uring_queue_init_params(kEntries, &ring, &params) < 0) return 1;
  if (posix_memalign((void**)&buffers, 4096, kBuffers * sizeof(struct io_uring_buf)) != 0) return 1;
  io_uring_buf_ring_init(buffers);
  struct io_uring_buf_reg group = {
      .ring_addr = (uintptr_t)buffers, .ring_entries = kBuffers, .bgid = 0};
  if (io_uring_register_buf_ring(&ring, &group, 0) < 0) return 1;
  for (int id = 0; id < kBuffers; id++)
    io_uring_buf_ring_add(buffers, space[id], kBufferBytes, id, io_uring_buf_ring_mask(kBuffers),
                          id);
  io_uring_buf_ring_advance(buffers, kBuffers);

  const int listener = listenAnywhere(0);
  if (listener < 0) return 1;
  acceptAll(listener);
  char ignored;
  struct io_uring_sqe* made = entry();
  io_uring_prep_read(made, 0, &ignored, 1, 0);
  tag(made, kEnd, 0);

  for (;;) {
    const int waited = io_uring_submit_and_wait(&ring, 1);
    if (waited < 0 && waited != -EINTR && waited != -EBUSY) return 1;
    struct io_uring_cqe* completion;
    unsigned head, seen = 0;
    io_uring_for_each_cqe(&ring, head, completion) {
      seen++;
      const int fd = (int)(uint32_t)completion->user_data;
      switch ((enum Kind)(completion->user_data >> 32)) {
        case kEnd:
          return 0;
        case kAccept:
          if (completion->res >= 0) {
            if (completion->res >= kMaxDescriptors) abort();
            memset(&connections[completion->res], 0, sizeof connections[0]);
            receiveAll(completion->res);
          }
          if (!(completion->flags & IORING_CQE_F_MORE)) acceptAll(listener);
          break;
        case kReceive:
          onReceived(completion, fd);
          break;
        case kSend:
          break;  // it failed: the peer has gone, which receiving tells
      }
    }
    io_uring_cq_advance(&ring, seen);
  }
}
