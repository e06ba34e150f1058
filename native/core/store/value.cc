#include "core/store/value.h"

#include <algorithm>

namespace regroup::store {

namespace {

/// What a piece costs beside its bytes: its counts, its string, malloc's headers.
constexpr size_t kPieceCost = 96;
/// What lies within the string itself.
constexpr size_t kOwnBytes = 15;

size_t costOf(const std::string& text) {
  return text.capacity() > kOwnBytes ? text.capacity() + 1 : 0;
}

/// A string that grows takes twice its capacity, or what it needs.
size_t costGrown(const std::string& text, size_t moreBytes) {
  const size_t needs = text.size() + moreBytes;
  if (needs <= text.capacity()) return costOf(text);
  return std::max(needs, 2 * text.capacity()) + 1;
}

}  // namespace

size_t Value::cost() const {
  size_t cost = store::costOf(whole_);
  if (!parts_) return cost;
  for (const Piece& piece : parts_->pieces) cost += store::costOf(*piece) + kPieceCost;
  return cost;
}

size_t Value::costOf(size_t moreBytes) const {
  if (!parts_ && whole_.size() + moreBytes <= kWholeBytes)
    return costGrown(whole_, moreBytes) - store::costOf(whole_);
  const std::string& last = parts_ ? *parts_->pieces.back() : whole_;
  const size_t newPieces = (moreBytes / kPieceBytes + 2) * kPieceCost;
  // In place where it fits, else in pieces that are as long as they must be.
  const size_t room = kPieceBytes - std::min(last.size(), kPieceBytes);
  const size_t grown = costGrown(last, std::min(moreBytes, room)) - store::costOf(last) + moreBytes;
  return grown + newPieces;
}

std::optional<std::string_view> Value::text() const {
  if (!parts_) return whole_;
  if (parts_->pieces.size() == 1) return *parts_->pieces[0];
  return std::nullopt;
}

bool Value::has(std::string_view bytes, size_t at) const {
  if (at + bytes.size() > size()) return false;
  for (size_t i = 0; !bytes.empty(); i++) {
    const std::string_view own = part(i);
    if (at >= own.size()) {
      at -= own.size();
      continue;
    }
    const auto compared = bytes.substr(0, own.size() - at);
    if (own.substr(std::exchange(at, 0), compared.size()) != compared) return false;
    bytes.remove_prefix(compared.size());
  }
  return true;
}

void Value::append(std::string_view bytes, size_t total) {
  total = std::max(total, size() + bytes.size());
  if (!parts_ && total <= kWholeBytes) {
    whole_.append(bytes);
    return;
  }
  if (!parts_) {
    parts_ = std::make_unique<Parts>();
    if (!whole_.empty()) {
      parts_->size = whole_.size();
      parts_->pieces.push_back(std::make_shared<std::string>(std::move(whole_)));
    }
    whole_ = {};
  }
  auto& pieces = parts_->pieces;
  while (!bytes.empty()) {
    // A piece that a reply shares is left as it is.
    if (pieces.empty() || pieces.back().use_count() > 1 || pieces.back()->size() >= kPieceBytes) {
      pieces.push_back(std::make_shared<std::string>());
      pieces.back()->reserve(std::min(kPieceBytes, total - parts_->size));
    }
    std::string& last = *pieces.back();
    const auto taken = bytes.substr(0, kPieceBytes - last.size());
    last.append(taken);
    parts_->size += taken.size();
    bytes.remove_prefix(taken.size());
  }
}

void Value::append(Value&& more) {
  if (!more.parts_) return append(more.whole_);
  if (!parts_) {
    // So that its first piece isn't that short one, unless it is.
    append({}, kWholeBytes + 1);
  }
  parts_->size += more.parts_->size;
  for (Piece& piece : more.parts_->pieces) parts_->pieces.push_back(std::move(piece));
  more.parts_.reset();
}

void Value::assign(std::string_view bytes) {
  if (parts_ || bytes.size() > kWholeBytes) {
    *this = Value(bytes);
    return;
  }
  whole_.assign(bytes);
  // A small value mustn't keep a large one's memory.
  if (whole_.capacity() > 64 && whole_.capacity() / 2 > bytes.size()) whole_.shrink_to_fit();
}

Value Value::shared() const {
  Value same;
  same.whole_ = whole_;
  if (parts_) same.parts_ = std::make_unique<Parts>(*parts_);
  return same;
}

bool Value::isSame(const Value& other) const {
  if (!parts_ || !other.parts_) return !parts_ && !other.parts_ && whole_ == other.whole_;
  return parts_->pieces == other.parts_->pieces;
}

bool Value::freeSome() {
  if (!parts_ || parts_->pieces.empty()) {
    *this = {};
    return false;
  }
  parts_->pieces.pop_back();
  return true;
}

}  // namespace regroup::store
