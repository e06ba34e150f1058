#pragma once

#include <vector>

#include "core/store/table.h"

namespace regroup::store {

/// How far a request's list was worked off.
struct Cursor {
  uint64_t strings = 0;
  size_t at = 0;  // their bytes
};

/// A request that takes several steps, between two of them.
struct Table::Task {
  Cursor cursor;  // CHECK, MULTI_GET, MULTI_SET
  Value value;    // being copied from the request
  Bytes names;    // the same, of a WAIT

  // COMPARE_SET: the key as it was when the comparison began.
  bool isThere = false;
  Value current;
  size_t compared = 0;  // bytes of it

  uint64_t replied = 0;  // MULTI_GET, LIST_KEYS: bytes of the reply so far
  // LIST_KEYS: the next part of the table, and what those before gave.
  size_t shard = 0;
  int64_t listed = 0;
  std::vector<Piece> lists;

  // What others can't have meanwhile.
  uint64_t reservedKeys = 0;
  uint64_t reservedBytes = 0;
};

}  // namespace regroup::store
