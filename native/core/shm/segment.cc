#include "core/shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/base/syscall.h"

namespace regroup::shm {

Result<Segment> Segment::create(size_t bytes, bool sealFutureWrite) {
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  bytes = (bytes + page - 1) / page * page;

  auto file = makeMemfd("regroup-store");
  if (!file) return file.error();
  if (::ftruncate(file->get(), static_cast<off_t>(bytes)) < 0) return Error{"ftruncate", errno};
  auto memory = Mapping::ofFile(*file, bytes);
  if (!memory) return memory.error();
  Segment segment(*std::move(memory));
  // A forked child that isn't about to exec would be a second writer.
  segment.memory_.keepFromForks();

  if (sealFutureWrite) {
    const auto sealed = addSeals(*file, F_SEAL_FUTURE_WRITE);
    // Fallback: kernels before 5.1.
    if (!sealed && sealed.error().code != EINVAL) return sealed.error();
    segment.writeSealed_ = static_cast<bool>(sealed);
  }
  if (auto sealed = addSeals(*file, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL); !sealed)
    return sealed.error();

  auto readOnly = openAgain(file->get(), O_RDONLY);
  if (readOnly) {
    segment.fd_ = std::move(*readOnly);
  } else if (segment.writeSealed_) {
    segment.fd_ = std::move(*file);  // without /proc; the seal is the stronger half anyway
  } else {
    return readOnly.error();
  }
  return segment;
}

}  // namespace regroup::shm
