#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/shm/lane.h"
#include "core/store/counts.h"
#include "core/store/server.h"

namespace regroup::store {

/// What a table shows to other threads: its counts, and its workers' slots. Whoever reads waits for
/// nobody, however busy the store's thread is.
///
/// Owner: shared, so that it outlives its table for those who read. Thread: store writes, any
/// reads.
class Board {
 public:
  /// A client at shared memory. `slot` is the client's to write, and stays mapped with it.
  struct Lane {
    pid_t pid;
    std::shared_ptr<const shm::ServerLane> lane;
  };

  TableCounts table;
  ClientCounts tcpStore;
  Count clients;
  Count accepted;
  Count refused;
  Count faults;
  Count bytesIn;
  Count bytesOut;

  void add(Lane lane);
  /// Keeps the highest step that it has told.
  void remove(const shm::ServerLane* lane);
  size_t lanes() const { return list()->size(); }
  /// Of a table that's empty now. What counts from the start stays.
  void reset();

  TableStats stats() const;
  std::vector<SlotView> slots() const;

 private:
  using List = std::vector<Lane>;

  std::shared_ptr<const List> list() const {
    const std::lock_guard lock(listMutex_);
    return list_;
  }
  void replace(List list) {
    auto shared = std::make_shared<const List>(std::move(list));
    const std::lock_guard lock(listMutex_);
    list_.swap(shared);
  }

  mutable std::mutex listMutex_;  // held for the copy of a pointer
  std::shared_ptr<const List> list_ = std::make_shared<const List>();  // guarded by listMutex_
  Count highestStep_;
};

}  // namespace regroup::store
