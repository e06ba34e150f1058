#include "core/base/mapping.h"

#include <errno.h>
#include <sys/mman.h>

namespace regroup {

Result<Mapping> Mapping::map(size_t bytes, int flags, int fd) {
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (memory == MAP_FAILED) return Error{"mmap", errno};
  return Mapping(static_cast<std::byte*>(memory), bytes);
}

Result<Mapping> Mapping::anonymous(size_t bytes, int flags) {
  return map(bytes, flags | MAP_ANONYMOUS, -1);
}

Result<Mapping> Mapping::ofFile(const Fd& file, size_t bytes) {
  return map(bytes, MAP_SHARED, file.get());
}

Mapping::~Mapping() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

void Mapping::keepFromForks() const {
  (void)::madvise(data_, bytes_, MADV_DONTFORK);
}

}  // namespace regroup
