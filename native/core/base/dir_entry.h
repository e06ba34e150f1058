#pragma once

#include <cstdint>

namespace regroup {

/// What getdents64(2) fills a buffer with: linux_dirent64, which no header of libc has.
struct DirEntry {
  uint64_t inode;
  int64_t offset;
  uint16_t bytes;  // from here to the next one
  uint8_t type;
  char name[];
};

}  // namespace regroup
