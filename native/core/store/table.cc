#include "core/store/table.h"

#include "core/store/counter.h"
#include "core/store/task.h"

namespace regroup::store {

namespace {

/// What makes a request short. A thousand connections may each send one at the same moment.
constexpr uint64_t kShortNames = 16;
constexpr size_t kShortBytes = 16 << 10;
/// Entries that an observer is told of when it comes.
constexpr size_t kObserved = 4096;

}  // namespace

std::string Refusal::describe() const {
  std::string text = reason;
  if (limit != 0) {
    text += ": " + std::to_string(value) + ", max: " + std::to_string(limit);
  }
  return text;
}

Table::Client::Client() = default;
Table::Client::~Client() = default;

Table::Table(const TableLimits& limits, TableCounts& counts, const HashKey& seed)
    : limits_(limits), slots_(seed), counts_(&counts) {}
Table::~Table() = default;

bool Table::isShort(const Request& request) {
  const size_t bytes = request.key.size() + request.value.size() + request.expected.size() +
                       request.list.bytes().size();
  return request.op != Op::ListKeys && request.list.size() <= kShortNames && bytes <= kShortBytes;
}

Table::Outcome Table::apply(Client& client, const Request& request, Reply& reply) {
  if (!client.task_) {
    if (client.waiting()) forget(client);
    counts_->requests[static_cast<size_t>(request.op)] += 1;
    counts_->hotKeys.note(request.list.size() == 0 ? request.key : *request.list.begin());
  }

  switch (request.op) {
    case Op::Validate:
      return Done{};
    case Op::Set:
      return set(client, request);
    case Op::CompareSet:
      return compareSet(client, request, reply);
    case Op::Get:
      return get(request, reply);
    case Op::Add:
      return add(request, reply);
    case Op::Check:
      return check(client, request, reply);
    case Op::Wait:
      return wait(client, request, reply);
    case Op::GetNumKeys:
      appendI64(reply.tail(), static_cast<int64_t>(keys()));
      return Done{};
    case Op::DeleteKey:
      appendI64(reply.tail(), remove(request.key));
      return Done{};
    case Op::Append:
      return append(client, request);
    case Op::MultiGet:
      return multiGet(client, request, reply);
    case Op::MultiSet:
      return multiSet(client, request);
    case Op::CancelWait:
      reply.tail() += kStatusWaitCancelled;
      return Done{};
    case Op::Ping:
      appendU32(reply.tail(), request.nonce);
      return Done{};
    case Op::QueuePush:
      return queuePush(client, request);
    case Op::QueuePop:
      return queuePop(request, reply);
    case Op::QueueLen: {
      const Entry* entry = slots_.find(request.key);
      const bool queued = entry != nullptr && entry->second.queue;
      const size_t length = queued ? entry->second.queue->size() : 0;
      appendI64(reply.tail(), static_cast<int64_t>(length));
      return Done{};
    }
    case Op::ListKeys:
      return listKeys(client, reply);
    case Op::Barrier:
      return barrier(client, request, reply);
  }
  return Refusal{"unknown operation"};
}

Table::Outcome Table::set(Client& client, const Request& request) {
  Slice slice;
  const std::string_view key = request.key;
  const std::string_view value = request.value;
  if (!client.task_) {
    if (auto refusal = admit(1, key.size() + value.size())) return *refusal;
    if (value.size() <= slice.bytes) {
      write(entryOf(key), value);
      return Done{};
    }
    reserve(client, 1, key.size() + value.size());
  }
  if (!copy(client, value, slice)) return More{};
  write(entryOf(key), std::move(client.task_->value));
  finish(client);
  return Done{};
}

Table::Outcome Table::get(const Request& request, Reply& reply) {
  const Entry* entry = slots_.find(request.key);
  if (entry == nullptr || !entry->second.value) {
    appendString(reply.tail(), {});
    return Done{};
  }
  const Value& value = *entry->second.value;
  if (auto refusal = admitReply(8 + value.size())) return *refusal;
  appendI64(reply.tail(), static_cast<int64_t>(value.size()));
  reply.append(value);
  return Done{};
}

Table::Outcome Table::add(const Request& request, Reply& reply) {
  int64_t sum = 0;
  if (!addTo(request.key, request.number, sum)) return kNotANumber;
  const CounterText text(sum);

  if (auto refusal = admit(1, request.key.size() + std::string_view(text).size())) return *refusal;
  write(entryOf(request.key), text);
  appendI64(reply.tail(), sum);
  return Done{};
}

bool Table::addTo(std::string_view key, int64_t number, int64_t& sum) {
  const Entry* const entry = slots_.find(key);
  std::optional<int64_t> current = 0;
  if (entry != nullptr && entry->second.value) current = parseCounter(entry->second.value->part(0));
  // Wraps, as stock's does.
  if (current) (void)__builtin_add_overflow(*current, number, &sum);
  return current.has_value();
}

Table::Outcome Table::append(Client& client, const Request& request) {
  Slice slice;
  const std::string_view key = request.key;
  const std::string_view more = request.value;
  if (!client.task_) {
    const Entry* const entry = slots_.find(key);
    const bool present = entry != nullptr && entry->second.value;
    const size_t size = more.size() + (present ? entry->second.value->size() : 0);
    // What can't be read any more is no good to anybody.
    if (8 + size > limits_.replyBytes)
      return Refusal{"value too large to be read again", 8 + size, limits_.replyBytes};
    const size_t cost = present ? entry->second.value->costOf(more.size()) : more.size();
    if (auto refusal = admit(1, key.size() + cost)) return *refusal;
    if (more.size() > slice.bytes) reserve(client, 1, key.size() + cost);
  }
  if (client.task_ && !copy(client, more, slice)) return More{};

  Entry& entry = entryOf(key);
  std::optional<Value>& value = entry.second.value;
  if (!value) {
    client.task_ ? write(entry, std::move(client.task_->value)) : write(entry, more);
  } else {
    counts_->bytes -= value->cost();
    client.task_ ? value->append(std::move(client.task_->value)) : value->append(more);
    counts_->bytes += value->cost();
    if (observer_) observer_->grew(entry.first, *value);
    wakeAll(entry.second);
  }
  finish(client);
  return Done{};
}

int64_t Table::remove(std::string_view key) {
  Entry* const entry = slots_.find(key);
  if (entry == nullptr || !entry->second.value) return 0;

  Slot& slot = entry->second;
  counts_->bytes -= slot.value->cost();
  counts_->keys -= 1;
  keyBytes_ -= 8 + key.size();
  garbage_.add(*std::move(slot.value));
  slot.value.reset();
  if (observer_) slot.queue ? observer_->queued(key) : observer_->removed(key);
  eraseIfEmpty(*entry);
  return 1;
}

void Table::retire() {
  observer_ = nullptr;
  unread_ = std::make_unique<TableCounts>();
  counts_ = unread_.get();
}

bool Table::dismantle() {
  if (garbage_.freeSome()) return true;
  Entry* const entry = slots_.any();
  if (entry == nullptr) return false;
  Slot& slot = entry->second;
  if (slot.queue && !slot.queue->empty()) {
    garbage_.add(std::move(slot.queue->front()));
    slot.queue->pop_front();
    return true;
  }
  if (slot.value) garbage_.add(*std::move(slot.value));
  slots_.erase(*entry);
  return true;
}

void Table::observe(TableObserver& observer) {
  observer_ = &observer;
  size_t left = kObserved;
  for (size_t shard = 0; shard < Slots::kShards; shard++) {
    const bool all = slots_.forEachOf(shard, [&](const Entry& entry) {
      if (left-- == 0) return false;
      const auto& [key, slot] = entry;
      if (slot.value)
        observer.changed(key, *slot.value);
      else if (slot.queue)
        observer.queued(key);
      return true;
    });
    if (!all) return observer.incomplete();
  }
}

Entry& Table::entryOf(std::string_view key) {
  if (Entry* const entry = slots_.find(key)) return *entry;
  counts_->bytes += key.size() + kSlotBytes;
  return slots_.add(key);
}

void Table::eraseIfEmpty(Entry& entry) {
  if (!entry.second.isEmpty()) return;
  counts_->bytes -= entry.first.size() + kSlotBytes;
  slots_.erase(entry);
}

/// As if every key were new; so a full table may refuse what would have fitted just so.
std::optional<Refusal> Table::admit(uint64_t moreKeys, uint64_t moreBytes) const {
  const uint64_t bytes = this->bytes() + reservedBytes_ + moreBytes + moreKeys * kSlotBytes;
  const uint64_t keys = slots_.size() + reservedKeys_ + moreKeys;
  if (bytes > limits_.bytes) return Refusal{"the store is full, bytes", bytes, limits_.bytes};
  if (keys > limits_.keys) return Refusal{"the store is full, keys", keys, limits_.keys};
  return {};
}

std::optional<Refusal> Table::admitReply(uint64_t bytes) const {
  if (bytes > limits_.replyBytes) return Refusal{"reply too large", bytes, limits_.replyBytes};
  return {};
}

/// SET, and all that has its effect: stores, then wakes.
void Table::write(Entry& entry, std::string_view bytes) {
  std::optional<Value>& value = entry.second.value;
  if (!value || bytes.size() > Value::kWholeBytes) return write(entry, Value(bytes));
  counts_->bytes -= value->cost();
  if (value->parts() > 1) garbage_.add(std::exchange(*value, {}));
  value->assign(bytes);
  noteWritten(entry);
}

void Table::write(Entry& entry, Value value) {
  Slot& slot = entry.second;
  if (slot.value) {
    counts_->bytes -= slot.value->cost();
    garbage_.add(std::exchange(*slot.value, std::move(value)));
  } else {
    slot.value.emplace(std::move(value));
    counts_->keys += 1;
    keyBytes_ += 8 + entry.first.size();
  }
  noteWritten(entry);
}

void Table::noteWritten(Entry& entry) {
  counts_->bytes += entry.second.value->cost();
  if (observer_) observer_->changed(entry.first, *entry.second.value);
  wakeAll(entry.second);
}

}  // namespace regroup::store
