#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace regroup {

/// Bytes that are added at the end and taken from the front.
///
/// A string that doubles is copied whole, which takes a hundred milliseconds at its size of 128
/// MiB. So what has become large lies in a mapping with room to grow: it's never copied again, and
/// the kernel gives it memory page by page, as bytes come.
class Bytes {
 public:
  Bytes() = default;
  Bytes(Bytes&& other) noexcept { *this = std::move(other); }
  Bytes& operator=(Bytes&& other) noexcept;
  ~Bytes() { clear(); }

  std::string_view view() const { return {data() + front_, end_ - front_}; }
  size_t size() const { return end_ - front_; }
  bool empty() const { return end_ == front_; }
  /// What it holds of the machine's memory.
  size_t held() const { return mapped_ != nullptr ? touched_ : small_.capacity(); }
  /// So large that freeing it takes a while.
  bool isLarge() const { return mapped_ != nullptr; }

  void append(std::string_view bytes);
  void dropFront(size_t bytes);
  /// Empty, and without memory.
  void clear();
  /// Gives some of its memory back, whatever is in it. False: there's none left.
  bool freeSome();

 private:
  const char* data() const { return mapped_ != nullptr ? mapped_ : small_.data(); }
  bool map(size_t bytes);
  bool grow(size_t bytes);

  std::string small_;
  char* mapped_ = nullptr;
  size_t room_ = 0;     // of the mapping
  size_t touched_ = 0;  // of it, from its beginning
  size_t front_ = 0;
  size_t end_ = 0;
};

}  // namespace regroup
