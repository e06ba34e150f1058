#include "core/store/board.h"

#include <algorithm>

namespace regroup::store {

namespace {

uint64_t stepOf(const shm::ServerLane& lane) {
  return lane.slot().step.load(std::memory_order_relaxed);
}

}  // namespace

void Board::add(Lane lane) {
  List list = *this->list();
  list.push_back(std::move(lane));
  replace(std::move(list));
}

void Board::remove(const shm::ServerLane* lane) {
  // Before it's gone from the list: who reads sees the one or the other.
  highestStep_ = std::max<uint64_t>(highestStep_, stepOf(*lane));
  List list = *this->list();
  std::erase_if(list, [lane](const Lane& each) { return each.lane.get() == lane; });
  replace(std::move(list));
}

void Board::reset() {
  for (const Lane& each : *list())
    highestStep_ = std::max<uint64_t>(highestStep_, stepOf(*each.lane));
  replace({});
  for (Count* each : {&table.keys, &table.waiters, &table.bytes, &clients}) *each = 0;
  for (Count& each : tcpStore.dialects) each = 0;
}

TableStats Board::stats() const {
  TableStats stats;
  stats.clients = clients;
  stats.keys = table.keys;
  stats.waiters = table.waiters;
  stats.bytes = table.bytes;
  stats.accepted = accepted;
  stats.refused = refused;
  stats.faults = faults;
  stats.bytesIn = bytesIn;
  stats.bytesOut = bytesOut;
  std::copy(table.requests.begin(), table.requests.end(), stats.requests.begin());
  stats.slowest = {static_cast<Op>(uint64_t{tcpStore.slowestOp}),
                   std::chrono::nanoseconds(uint64_t{tcpStore.slowestNs})};
  std::copy(tcpStore.dialects.begin(), tcpStore.dialects.end(), stats.dialects.begin());
  stats.hotKeys = table.hotKeys.top();
  const auto lanes = list();
  stats.lanes = lanes->size();
  stats.highestStep = highestStep_;
  for (const Lane& each : *lanes)
    stats.highestStep = std::max(stats.highestStep, stepOf(*each.lane));
  return stats;
}

std::vector<SlotView> Board::slots() const {
  std::vector<SlotView> views;
  for (const Lane& each : *list()) {
    const shm::Slot& slot = each.lane->slot();
    const uint64_t beats = slot.beats.load(std::memory_order_acquire);
    if (beats == 0) continue;
    views.push_back({each.pid, slot.rank.load(std::memory_order_relaxed), beats,
                     slot.beatNs.load(std::memory_order_relaxed),
                     slot.step.load(std::memory_order_relaxed),
                     slot.phase.load(std::memory_order_relaxed)});
  }
  return views;
}

}  // namespace regroup::store
