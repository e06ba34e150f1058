#include "core/store/table.h"

namespace regroup::store {

Table::Outcome Table::queuePush(const Request& request) {
  if (auto refusal = admit(1, request.key.size() + request.value.size() + kQueuedBytes))
    return refusal;
  Entry& entry = entryOf(request.key);
  Slot& slot = entry.second;
  const bool existed = slot.exists();
  if (!slot.queue) slot.queue = std::make_unique<std::deque<std::string>>();
  slot.queue->emplace_back(request.value);
  bytes_ += request.value.size() + kQueuedBytes;
  if (!existed) appeared(entry);
  if (!existed && observer_) observer_->queued(entry.first);

  // One element, one client: the others keep waiting, although the queue isn't empty.
  for (Waiter* waiter = slot.first; waiter != nullptr; waiter = waiter->after) {
    if (waiter->atBarrier || waiter->client->missing_ > 0) continue;
    release(*waiter->client);
    break;
  }
  return {};
}

Table::Outcome Table::queuePop(const Request& request, std::string& reply) {
  const auto found = slots_.find(request.key);
  if (found == slots_.end() || !found->second.queue) {
    appendI64(reply, 0);
    return {};
  }

  Slot& slot = found->second;
  appendI64(reply, static_cast<int64_t>(slot.queue->size()));
  appendString(reply, slot.queue->front());
  bytes_ -= slot.queue->front().size() + kQueuedBytes;
  slot.queue->pop_front();
  if (slot.queue->empty()) {
    slot.queue.reset();
    if (!slot.exists()) vanished(*found);
    eraseIfEmpty(*found);
  }
  return {};
}

}  // namespace regroup::store
