#include "core/store/mirror.h"

namespace regroup::store {

namespace {

/// A longer value that's appended to isn't published: each time, the whole of it would be copied.
constexpr size_t kGrowingBytes = 16 << 10;

}  // namespace

Result<std::unique_ptr<Mirror>> Mirror::create(const shm::WriterOptions& options) {
  auto writer = shm::Writer::create(options);
  if (!writer) return writer.error();
  return std::unique_ptr<Mirror>(new Mirror(*std::move(writer)));
}

void Mirror::changed(std::string_view key, const Value& value) {
  if (const auto text = value.text())
    (void)writer_->put(key, *text);
  else
    writer_->hide(key);
}

void Mirror::grew(std::string_view key, const Value& value) {
  if (value.size() > kGrowingBytes) return writer_->hide(key);
  changed(key, value);
}

void Mirror::removed(std::string_view key) {
  writer_->remove(key);
}

void Mirror::queued(std::string_view key) {
  writer_->hide(key);
}

void Mirror::incomplete() {
  writer_->hideUnknown();
}

}  // namespace regroup::store
