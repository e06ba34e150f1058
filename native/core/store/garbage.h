#pragma once

#include <vector>

#include "core/base/bytes.h"
#include "core/store/reply.h"
#include "core/store/value.h"

namespace regroup::store {

/// Memory that's given back a little at a time, since the kernel takes a tenth of a second for some
/// hundred megabytes.
///
/// Thread: store.
class Garbage {
 public:
  /// Small ones are freed at once.
  void add(Bytes bytes) {
    if (bytes.isLarge()) bytes_.push_back(std::move(bytes));
  }
  void add(Value value) {
    if (value.parts() > 1) values_.push_back(std::move(value));
  }
  void add(Reply reply) {
    if (reply.isLarge()) replies_.push_back(std::move(reply));
  }

  bool isEmpty() const { return bytes_.empty() && values_.empty() && replies_.empty(); }

  /// One step. False: there's none left.
  bool freeSome() { return freeSomeOf(bytes_) || freeSomeOf(values_) || freeSomeOf(replies_); }

 private:
  template <typename T>
  bool freeSomeOf(std::vector<T>& those) {
    if (those.empty()) return false;
    if (!those.back().freeSome()) those.pop_back();
    return true;
  }

  std::vector<Bytes> bytes_;
  std::vector<Value> values_;
  std::vector<Reply> replies_;
};

}  // namespace regroup::store
