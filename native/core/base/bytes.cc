#include "core/base/bytes.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/base/free_memory.h"

namespace regroup {

namespace {

/// Up to this a string does.
constexpr size_t kSmallBytes = 1 << 20;
/// Room that a mapping begins with. It's numbers of addresses only: 2^47 of them are there.
constexpr size_t kRoomBytes = 512 << 20;
/// Given back at once.
constexpr size_t kFreeBytes = 2 << 20;

char* mapRoom(size_t bytes) {
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
}

size_t wholePages(size_t bytes) {
  constexpr size_t kPage = 64 << 10;  // the largest of any kernel
  return (bytes + kPage - 1) / kPage * kPage;
}

}  // namespace

Bytes& Bytes::operator=(Bytes&& other) noexcept {
  if (this == &other) return *this;
  clear();
  small_ = std::move(other.small_);
  other.small_.clear();
  mapped_ = std::exchange(other.mapped_, nullptr);
  room_ = std::exchange(other.room_, 0);
  touched_ = std::exchange(other.touched_, 0);
  front_ = std::exchange(other.front_, 0);
  end_ = std::exchange(other.end_, 0);
  return *this;
}

void Bytes::append(std::string_view bytes) {
  if (bytes.empty()) return;
  if (mapped_ == nullptr && size() + bytes.size() > kSmallBytes) {
    // Without memory there's nothing that a server could do; a string would throw.
    if (!map(size() + bytes.size())) std::abort();
  }
  if (mapped_ == nullptr) {
    small_.erase(0, std::exchange(front_, 0));
    small_.append(bytes);
    end_ = small_.size();
    return;
  }
  if (end_ + bytes.size() > room_ && !grow(end_ + bytes.size())) std::abort();
  std::memcpy(mapped_ + end_, bytes.data(), bytes.size());
  end_ += bytes.size();
  touched_ = std::max(touched_, end_);
}

void Bytes::dropFront(size_t bytes) {
  front_ += bytes;
  if (front_ == end_) {
    front_ = end_ = 0;
    small_.clear();
  }
}

/// Moves what's there, at most kSmallBytes, into a mapping.
bool Bytes::map(size_t bytes) {
  room_ = std::max(kRoomBytes, wholePages(2 * bytes));
  mapped_ = mapRoom(room_);
  if (mapped_ == nullptr) {
    // Fallback: a limit of the address space, or a kernel that counts what's only reserved.
    room_ = wholePages(2 * bytes);
    mapped_ = mapRoom(room_);
  }
  if (mapped_ == nullptr) return false;
  std::memcpy(mapped_, small_.data() + front_, size());
  end_ = touched_ = size();
  front_ = 0;
  freeMemory(small_);
  return true;
}

/// The kernel moves the pages' entries, not the bytes.
bool Bytes::grow(size_t bytes) {
  const size_t room = std::max(2 * room_, wholePages(bytes));
  void* const memory = ::mremap(mapped_, room_, room, MREMAP_MAYMOVE);
  if (memory == MAP_FAILED) return false;
  mapped_ = static_cast<char*>(memory);
  room_ = room;
  return true;
}

void Bytes::clear() {
  if (mapped_ != nullptr) ::munmap(mapped_, room_);
  mapped_ = nullptr;
  freeMemory(small_);
  room_ = touched_ = front_ = end_ = 0;
}

bool Bytes::freeSome() {
  if (touched_ <= kFreeBytes) {
    clear();
    return false;
  }
  touched_ = wholePages(touched_ - kFreeBytes);
  front_ = end_ = 0;
  (void)::madvise(mapped_ + touched_, wholePages(kFreeBytes), MADV_DONTNEED);
  return true;
}

}  // namespace regroup
