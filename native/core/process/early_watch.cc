#include "core/process/early_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "core/base/futex.h"
#include "core/base/raw.h"
#include "core/base/syscall.h"
#include "core/process/early_layout.h"

namespace regroup {

namespace {

/// futex_waitv's own bound.
constexpr size_t kMaxWords = 128;
/// How often a word may change or wake us without a mark. Once is normal, when the worker
/// registers; one that goes on has a worker that scribbles, and loses its hint.
constexpr int kChances = 8;

/// The kernel's struct futex_waitv; older headers lack it.
struct WaitedWord {
  uint64_t value;
  uint64_t address;
  uint32_t flags;
  uint32_t reserved;
};
constexpr uint32_t kFutex2SizeU32 = 2;

}  // namespace

Result<std::unique_ptr<EarlyWatch>> EarlyWatch::create(size_t workers) {
  const auto stride = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  auto memfd = makeMemfd("regroup-early");
  if (!memfd) return memfd.error();
  const size_t bytes = stride * workers;
  if (::ftruncate(memfd->get(), static_cast<off_t>(bytes)) < 0) return Error{"ftruncate", errno};
  auto sealed = addSeals(*memfd, early::kSeals);
  if (!sealed) return sealed.error();
  struct statx file;
  if (::statx(memfd->get(), "", AT_EMPTY_PATH, STATX_INO, &file) < 0) return Error{"statx", errno};
  auto pages = Mapping::ofFile(*memfd, bytes);
  if (!pages) return pages.error();
  const dev_t device = makedev(file.stx_dev_major, file.stx_dev_minor);
  const std::string identity = std::to_string(device) + ":" + std::to_string(file.stx_ino);
  return std::unique_ptr<EarlyWatch>(
      new EarlyWatch(*std::move(memfd), identity, *std::move(pages), stride, workers));
}

EarlyWatch::EarlyWatch(Fd memfd, std::string identity, Mapping pages, size_t stride, size_t workers)
    : memfd_(std::move(memfd)),
      identity_(std::move(identity)),
      pages_(std::move(pages)),
      stride_(stride),
      workers_(workers) {
  for (size_t i = 0; i < workers; i++)
    ::memcpy(pages_.data() + i * stride_ + early::kMagicAt, &early::kMagic, sizeof early::kMagic);
}

EarlyWatch::~EarlyWatch() {
  stopping_ = true;
  if (!threads_.empty()) {
    // Changed before it's woken: who isn't waiting yet won't begin to.
    for (size_t i = 0; i < workers_; i++) {
      __atomic_store_n(wordOf(i), early::kOwnerDied, __ATOMIC_RELEASE);
      futexWake(wordOf(i), FutexScope::AnyProcess);
    }
  }
  for (Thread& thread : threads_) thread.join();
}

std::string EarlyWatch::variable(size_t index) const {
  return std::string(early::kVariable) + "=" + std::to_string(::getpid()) + ":" +
         std::to_string(memfd_.get()) + ":" + std::to_string(index * stride_) + ":" + identity_;
}

Result<void> EarlyWatch::start(bool many, OnHint onHint) {
  many_ = many;
  onHint_ = std::move(onHint);
  const size_t each = many ? kMaxWords : 1;
  for (size_t first = 0; first < workers_; first += each) {
    const size_t count = std::min(each, workers_ - first);
    auto thread = Thread::start([this, first, count] { run(first, count); });
    if (!thread) return thread.error();
    threads_.push_back(*std::move(thread));
  }
  return {};
}

uint32_t* EarlyWatch::wordOf(size_t index) const {
  return reinterpret_cast<uint32_t*>(pages_.data() + index * stride_);
}

void EarlyWatch::run(size_t first, size_t count) {
  (void)::prctl(PR_SET_NAME, "regroup-early");
  std::vector<Slot> slots;
  for (size_t i = first; i < first + count; i++) slots.push_back({i, wordOf(i), 0, kChances});

  while (true) {
    for (Slot& slot : slots) {
      const uint32_t before = slot.value;
      slot.value = __atomic_load_n(slot.word, __ATOMIC_ACQUIRE);
      if (slot.value != before) slot.chances--;
    }
    if (stopping_) return;
    const TimePoint at = monotonicNow();
    std::erase_if(slots, [&](const Slot& slot) {
      const bool marked = (slot.value & early::kOwnerDied) != 0;
      if (marked) onHint_(slot.index, at);
      return marked || slot.chances <= 0;
    });
    if (slots.empty()) return;
    const long woken = wait(slots);
    if (woken >= 0) slots[woken].chances--;
    if (woken < 0 && woken != -EAGAIN && woken != -EINTR) return;  // no hints, then
  }
}

/// Sleeps while all words have the values that we saw. @returns whose word we were woken at, or
/// -errno
long EarlyWatch::wait(const std::vector<Slot>& slots) const {
  // Fallback: kernel < 5.16 waits for one word only.
  if (!many_) return -futexWait(slots[0].word, slots[0].value, FutexScope::AnyProcess);
  WaitedWord words[kMaxWords];
  for (size_t i = 0; i < slots.size(); i++)
    words[i] = {slots[i].value, reinterpret_cast<uintptr_t>(slots[i].word), kFutex2SizeU32, 0};
  const long woken = ::syscall(kSysFutexWaitv, words, slots.size(), 0, nullptr, 0);
  return woken < 0 ? -errno : woken;
}

}  // namespace regroup
