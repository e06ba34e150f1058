#include "core/store/reply.h"

#include <utility>

#include "core/base/free_memory.h"

namespace regroup::store {

namespace {

/// A string that's kept for the next reply has at most so many bytes.
constexpr size_t kKeptBytes = 1 << 20;

}  // namespace

Reply::Reply(Reply&& other) noexcept {
  *this = std::move(other);
}

Reply& Reply::operator=(Reply&& other) noexcept {
  segments_ = std::move(other.segments_);
  other.segments_.clear();
  first_ = std::exchange(other.first_, 0);
  sent_ = std::exchange(other.sent_, 0);
  closed_ = std::exchange(other.closed_, 0);
  shared_ = std::exchange(other.shared_, 0);
  return *this;
}

std::string& Reply::tail() {
  if (segments_.empty() || segments_.back().piece) {
    if (!segments_.empty()) closed_ += segments_.back().bytes().size();
    segments_.emplace_back();
  }
  return segments_.back().text;
}

void Reply::share(Piece piece) {
  if (!segments_.empty()) closed_ += segments_.back().bytes().size();
  shared_ += piece->size();
  segments_.push_back({{}, std::move(piece)});
}

void Reply::append(const Value& value) {
  for (size_t i = 0; i < value.parts(); i++) {
    if (Piece piece = value.piece(i))
      share(std::move(piece));
    else
      append(value.part(i));
  }
}

void Reply::append(Reply&& other) {
  if (segments_.empty()) {
    *this = std::move(other);
    return;
  }
  for (size_t i = other.first_; i < other.segments_.size(); i++) {
    Segment& segment = other.segments_[i];
    const size_t skipped = i == other.first_ ? other.sent_ : 0;
    if (!segment.piece || skipped > 0)
      append(segment.bytes().substr(skipped));
    else
      share(std::move(segment.piece));
  }
  other = {};
}

size_t Reply::size() const {
  return segments_.empty() ? 0 : closed_ + segments_.back().bytes().size() - sent_;
}

size_t Reply::held() const {
  size_t bytes = segments_.capacity() * sizeof(Segment) + shared_;
  for (size_t i = first_; i < segments_.size(); i++) bytes += segments_[i].text.capacity();
  return bytes;
}

size_t Reply::gather(iovec* parts, size_t room, size_t most) const {
  size_t count = 0;
  size_t skipped = sent_;
  for (size_t i = first_; i < segments_.size() && count < room && most > 0; i++) {
    const auto bytes = segments_[i].bytes().substr(std::exchange(skipped, 0)).substr(0, most);
    if (bytes.empty()) continue;
    parts[count++] = {const_cast<char*>(bytes.data()), bytes.size()};
    most -= bytes.size();
  }
  return count;
}

void Reply::drop(size_t bytes) {
  sent_ += bytes;
  while (first_ < segments_.size()) {
    Segment& segment = segments_[first_];
    const size_t size = segment.bytes().size();
    if (sent_ < size) return;
    sent_ -= size;
    if (segment.piece) shared_ -= size;
    if (first_ + 1 < segments_.size()) {
      closed_ -= size;
      segment = {};
    }
    first_++;
  }
  clear();
}

void Reply::clear() {
  std::string kept;
  if (!segments_.empty() && segments_.back().text.capacity() <= kKeptBytes)
    kept = std::move(segments_.back().text);
  kept.clear();
  segments_.clear();
  if (kept.capacity() > 64) segments_.push_back({std::move(kept), {}});
  first_ = sent_ = closed_ = shared_ = 0;
}

bool Reply::freeSome() {
  if (segments_.size() <= 1) {
    freeMemory(segments_);
    first_ = sent_ = closed_ = shared_ = 0;
    return false;
  }
  segments_.pop_back();
  return true;
}

std::string Reply::flat() const {
  std::string all;
  size_t skipped = sent_;
  for (size_t i = first_; i < segments_.size(); i++)
    all += segments_[i].bytes().substr(std::exchange(skipped, 0));
  return all;
}

}  // namespace regroup::store
