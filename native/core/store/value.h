#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace regroup::store {

/// A part of a large value. Whoever shares it may keep it for as long as they like: it isn't
/// changed while two have it.
using Piece = std::shared_ptr<std::string>;

/// What a key holds: any bytes. A short value is one string; a long one consists of pieces, which
/// replies share instead of copying them.
///
/// Thread: store.
class Value {
 public:
  /// Longer ones consist of pieces.
  static constexpr size_t kWholeBytes = 16 << 10;
  /// At most as many in a piece. A value that's set by one request is cut as rarely as possible.
  static constexpr size_t kPieceBytes = 1 << 20;

  Value() = default;
  explicit Value(std::string_view bytes) { append(bytes); }
  Value(Value&&) noexcept = default;
  Value& operator=(Value&&) noexcept = default;

  size_t size() const { return parts_ ? parts_->size : whole_.size(); }
  /// Its memory, and what that costs beside.
  size_t cost() const;
  /// What it would cost more with so many bytes more, at most.
  size_t costOf(size_t moreBytes) const;

  /// Its bytes, if they lie together: of up to kPieceBytes all do that were set by one request.
  std::optional<std::string_view> text() const;
  /// What it consists of, in order; a short value of one.
  size_t parts() const { return parts_ ? parts_->pieces.size() : 1; }
  std::string_view part(size_t index) const {
    return parts_ ? std::string_view(*parts_->pieces[index]) : std::string_view(whole_);
  }
  /// Whether `bytes` lie in it from `at` on.
  bool has(std::string_view bytes, size_t at) const;
  /// Null for a short value.
  Piece piece(size_t index) const { return parts_ ? parts_->pieces[index] : nullptr; }

  /// `total`: how long it's going to be, if that's known.
  void append(std::string_view bytes, size_t total = 0);
  /// Takes over what `more` consists of, and copies a short one.
  void append(Value&& more);
  /// A short value in place of a short one, which keeps its memory unless that's far too much.
  void assign(std::string_view bytes);

  /// The same bytes now, and for as long as this is kept.
  Value shared() const;
  /// Whether both were shared() from one value that hasn't changed meanwhile.
  bool isSame(const Value& other) const;

  /// Gives one piece back. False: there's none left.
  bool freeSome();

 private:
  struct Parts {
    std::vector<Piece> pieces;
    size_t size = 0;
  };

  std::string whole_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace regroup::store
