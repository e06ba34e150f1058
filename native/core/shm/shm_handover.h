#pragma once

#include <unistd.h>

#include <cstdint>

#include "core/shm/lane_layout.h"

namespace regroup::shm {

/// The socket and what came through it, while they aren't a client's yet.
struct Handed {
  int socket = -1;
  int segment = -1;
  int lane = -1;

  ~Handed() {
    for (const int fd : {socket, segment, lane}) {
      if (fd >= 0) ::close(fd);
    }
  }
};

/// Connects to the server's socket, and takes the descriptors that it sends.
/// @returns one of regroup_shm_connect's answers
int takeHandover(const char* name, uint32_t timeoutMs, Handed& handed);

/// Maps the lane and checks that it's of our version. @returns as above
int mapLane(int fd, std::byte** memory);

}  // namespace regroup::shm
