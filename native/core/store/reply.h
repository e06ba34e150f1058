#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/store/value.h"

namespace regroup::store {

/// Bytes on their way to a peer: texts of its own, and pieces that it shares with a table's values.
///
/// Thread: store.
class Reply {
 public:
  Reply() = default;
  Reply(Reply&&) noexcept;
  Reply& operator=(Reply&&) noexcept;

  /// What's added to it belongs to the reply. Good until the next call.
  std::string& tail();
  void append(std::string_view bytes) { tail().append(bytes); }
  void share(Piece piece);
  /// The value's bytes, without their length.
  void append(const Value& value);
  void append(Reply&& other);

  size_t size() const;
  bool empty() const { return size() == 0; }
  /// Memory that's kept for its sake; shared pieces count as if they were its own.
  size_t held() const;
  bool isLarge() const { return shared_ > Value::kPieceBytes; }

  /// The first bytes, in at most `room` parts and about `most` bytes. @returns how many parts
  size_t gather(iovec* parts, size_t room, size_t most) const;
  /// The first so many are done with.
  void drop(size_t bytes);
  /// Empty, with memory kept for the next one.
  void clear();
  /// Gives a part back. False: there's none left.
  bool freeSome();

  /// For tests.
  std::string flat() const;

 private:
  struct Segment {
    std::string text;
    Piece piece;  // else `text`

    std::string_view bytes() const { return piece ? std::string_view(*piece) : text; }
  };

  std::vector<Segment> segments_;
  size_t first_ = 0;   // of them, that isn't done with
  size_t sent_ = 0;    // of its bytes
  size_t closed_ = 0;  // bytes of all segments but the last, from `first_` on
  size_t shared_ = 0;  // bytes of pieces
};

}  // namespace regroup::store
