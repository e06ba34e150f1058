#include "core/shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/syscall.h"

namespace regroup::shm {

Result<Segment> Segment::create(size_t bytes, bool sealFutureWrite) {
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  bytes = (bytes + page - 1) / page * page;

  auto file = makeMemfd("regroup-store");
  if (!file) return file.error();
  if (::ftruncate(file->get(), static_cast<off_t>(bytes)) < 0) return Error{"ftruncate", errno};
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file->get(), 0);
  if (memory == MAP_FAILED) return Error{"mmap", errno};
  Segment segment(static_cast<std::byte*>(memory), bytes);
  // A forked child that isn't about to exec would be a second writer.
  (void)::madvise(memory, bytes, MADV_DONTFORK);

  if (sealFutureWrite) {
    const auto sealed = addSeals(*file, F_SEAL_FUTURE_WRITE);
    // Fallback: kernels before 5.1.
    if (!sealed && sealed.error().code != EINVAL) return sealed.error();
    segment.writeSealed_ = static_cast<bool>(sealed);
  }
  if (auto sealed = addSeals(*file, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL); !sealed)
    return sealed.error();

  char path[32];
  ::snprintf(path, sizeof path, "/proc/self/fd/%d", file->get());
  auto readOnly = openFile(path, O_RDONLY);
  if (readOnly) {
    segment.fd_ = std::move(*readOnly);
  } else if (segment.writeSealed_) {
    segment.fd_ = std::move(*file);  // without /proc; the seal is the stronger half anyway
  } else {
    return readOnly.error();
  }
  return segment;
}

Segment::Segment(Segment&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)),
      bytes_(other.bytes_),
      fd_(std::move(other.fd_)),
      writeSealed_(other.writeSealed_) {}

Segment::~Segment() {
  if (memory_) ::munmap(memory_, bytes_);
}

}  // namespace regroup::shm
