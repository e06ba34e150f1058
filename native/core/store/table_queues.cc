#include "core/store/table.h"
#include "core/store/task.h"

namespace regroup::store {

Table::Outcome Table::queuePush(Client& client, const Request& request) {
  Slice slice;
  const std::string_view key = request.key;
  const std::string_view value = request.value;
  const uint64_t bytes = key.size() + value.size() + kQueuedBytes;
  if (!client.task_) {
    if (auto refusal = admit(1, bytes)) return *refusal;
    if (value.size() > slice.bytes) reserve(client, 1, bytes);
  }
  if (client.task_ && !copy(client, value, slice)) return More{};

  Entry& entry = entryOf(key);
  Slot& slot = entry.second;
  const bool existed = slot.exists();
  if (!slot.queue) slot.queue = std::make_unique<std::deque<Value>>();
  if (client.task_)
    slot.queue->push_back(std::move(client.task_->value));
  else
    slot.queue->emplace_back(value);
  counts_->bytes += slot.queue->back().cost() + kQueuedBytes;
  if (!existed && observer_) observer_->queued(entry.first);
  wakeForElement(slot);
  finish(client);
  return Done{};
}

Table::Outcome Table::queuePop(const Request& request, Reply& reply) {
  Entry* const entry = slots_.find(request.key);
  if (entry == nullptr || !entry->second.queue) {
    appendI64(reply.tail(), 0);
    return Done{};
  }

  Slot& slot = entry->second;
  const Value& first = slot.queue->front();
  if (auto refusal = admitReply(16 + first.size())) return *refusal;
  appendI64(reply.tail(), static_cast<int64_t>(slot.queue->size()));
  appendI64(reply.tail(), static_cast<int64_t>(first.size()));
  reply.append(first);
  counts_->bytes -= first.cost() + kQueuedBytes;
  slot.queue->pop_front();
  if (slot.queue->empty()) {
    slot.queue.reset();
    eraseIfEmpty(*entry);
  }
  return Done{};
}

}  // namespace regroup::store
