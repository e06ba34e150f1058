#include "core/store/table.h"

#include "core/store/counter.h"

namespace regroup::store {

std::string Refusal::describe() const {
  std::string text = reason;
  if (limit != 0) {
    text += ": " + std::to_string(value) + ", max: " + std::to_string(limit);
  }
  return text;
}

Table::Outcome Table::apply(Client& client, const Request& request, std::string& reply) {
  released_.clear();
  if (client.waiting()) forget(client);
  requests_[static_cast<size_t>(request.op)]++;
  hotKeys_.note(request.list.size() == 0 ? request.key : *request.list.begin());

  switch (request.op) {
    case Op::Validate:
      return {};
    case Op::Set:
      return set(request);
    case Op::CompareSet:
      return compareSet(request, reply);
    case Op::Get: {
      const Entry* entry = lookup(request.key);
      const bool present = entry != nullptr && entry->second.value;
      appendString(reply, present ? std::string_view(*entry->second.value) : std::string_view());
      return {};
    }
    case Op::Add:
      return add(request, reply);
    case Op::Check: {
      char status = kStatusOk;
      for (const std::string_view key : request.list) {
        const Entry* entry = lookup(key);
        if (entry == nullptr || !entry->second.exists()) {
          status = kStatusNotReady;
          break;
        }
      }
      reply += status;
      return {};
    }
    case Op::Wait:
      return wait(client, request, reply);
    case Op::GetNumKeys:
      appendI64(reply, static_cast<int64_t>(keys_));
      return {};
    case Op::DeleteKey:
      appendI64(reply, remove(request.key));
      return {};
    case Op::Append:
      return append(request);
    case Op::MultiGet:
      return multiGet(request, reply);
    case Op::MultiSet:
      return multiSet(request);
    case Op::CancelWait:
      reply += kStatusWaitCancelled;
      return {};
    case Op::Ping:
      appendU32(reply, request.nonce);
      return {};
    case Op::QueuePush:
      return queuePush(request);
    case Op::QueuePop:
      return queuePop(request, reply);
    case Op::QueueLen: {
      const Entry* entry = lookup(request.key);
      const bool queued = entry != nullptr && entry->second.queue;
      appendI64(reply, queued ? static_cast<int64_t>(entry->second.queue->size()) : 0);
      return {};
    }
    case Op::ListKeys:
      return listKeys(reply);
    case Op::Barrier:
      return barrier(client, request, reply);
  }
  return Refusal{"unknown operation"};
}

Table::Outcome Table::set(const Request& request) {
  if (auto refusal = admit(1, request.key.size() + request.value.size())) return refusal;
  write(entryOf(request.key), request.value);
  return {};
}

Table::Outcome Table::compareSet(const Request& request, std::string& reply) {
  const Entry* entry = lookup(request.key);
  const bool present = entry != nullptr && entry->second.value;
  // A missing key equals an empty expectation only; any other is echoed as if it were there.
  const std::string_view current =
      present ? std::string_view(*entry->second.value) : std::string_view();
  if (current != request.expected) {
    appendString(reply, present ? current : request.expected);
    return {};
  }

  if (auto refusal = admit(1, request.key.size() + request.value.size())) return refusal;
  write(entryOf(request.key), request.value);
  appendString(reply, request.value);
  return {};
}

Table::Outcome Table::add(const Request& request, std::string& reply) {
  int64_t sum = 0;
  if (!addTo(request.key, request.number, sum)) return kNotANumber;
  const CounterText text(sum);

  if (auto refusal = admit(1, request.key.size() + std::string_view(text).size())) return refusal;
  write(entryOf(request.key), text);
  appendI64(reply, sum);
  return {};
}

bool Table::addTo(std::string_view key, int64_t number, int64_t& sum) const {
  const Entry* const entry = lookup(key);
  std::optional<int64_t> current = 0;
  if (entry != nullptr && entry->second.value) current = parseCounter(*entry->second.value);
  // Wraps, as stock's does.
  if (current) (void)__builtin_add_overflow(*current, number, &sum);
  return current.has_value();
}

Table::Outcome Table::append(const Request& request) {
  if (auto refusal = admit(1, request.key.size() + request.value.size())) return refusal;
  Entry& entry = entryOf(request.key);
  if (!entry.second.value) {
    write(entry, request.value);
    return {};
  }
  entry.second.value->append(request.value);
  bytes_ += request.value.size();
  if (observer_) observer_->grew(entry.first, *entry.second.value);
  wake(entry, Whom::Everybody);
  return {};
}

Table::Outcome Table::multiGet(const Request& request, std::string& reply) {
  uint64_t bytes = 0;
  for (const std::string_view key : request.list) {
    const Entry* entry = lookup(key);
    bytes += 8 + (entry != nullptr && entry->second.value ? entry->second.value->size() : 0);
  }
  if (auto refusal = admitReply(bytes)) return refusal;

  reply.reserve(reply.size() + bytes);
  for (const std::string_view key : request.list) {
    const Entry* entry = lookup(key);
    const bool present = entry != nullptr && entry->second.value;
    appendString(reply, present ? std::string_view(*entry->second.value) : std::string_view());
  }
  return {};
}

Table::Outcome Table::multiSet(const Request& request) {
  uint64_t bytes = 0;
  for (const std::string_view string : request.list) bytes += string.size();
  // As if every key were new: a request is refused whole or applied whole.
  if (auto refusal = admit(request.list.size() / 2, bytes)) return refusal;

  for (auto string = request.list.begin(); string != request.list.end(); ++string) {
    const std::string_view key = *string;
    write(entryOf(key), *++string);
  }
  return {};
}

Table::Outcome Table::listKeys(std::string& reply) {
  uint64_t bytes = 8;
  for (const auto& [key, slot] : slots_) bytes += slot.value ? 8 + key.size() : 0;
  if (auto refusal = admitReply(bytes)) return refusal;

  reply.reserve(reply.size() + bytes);
  appendI64(reply, static_cast<int64_t>(keys_));
  for (const auto& [key, slot] : slots_) {
    if (slot.value) appendString(reply, key);
  }
  return {};
}

int64_t Table::remove(std::string_view key) {
  const auto found = slots_.find(key);
  if (found == slots_.end() || !found->second.value) return 0;

  Slot& slot = found->second;
  bytes_ -= slot.value->size();
  slot.value.reset();
  keys_--;
  if (observer_) slot.queue ? observer_->queued(key) : observer_->removed(key);
  if (!slot.exists()) vanished(*found);
  eraseIfEmpty(*found);
  return 1;
}

void Table::clear() {
  slots_.clear();
  released_.clear();
  keys_ = 0;
  bytes_ = 0;
  observer_ = nullptr;
}

void Table::observe(TableObserver& observer) {
  observer_ = &observer;
  for (const auto& [key, slot] : slots_) {
    if (slot.value)
      observer.changed(key, *slot.value);
    else if (slot.queue)
      observer.queued(key);
  }
}

std::optional<std::string_view> Table::find(std::string_view key) const {
  const Entry* entry = lookup(key);
  if (entry == nullptr || !entry->second.value) return std::nullopt;
  return *entry->second.value;
}

const Table::Entry* Table::lookup(std::string_view key) const {
  const auto found = slots_.find(key);
  return found == slots_.end() ? nullptr : &*found;
}

Table::Entry& Table::entryOf(std::string_view key) {
  const auto found = slots_.find(key);
  if (found != slots_.end()) return *found;
  bytes_ += key.size() + kSlotBytes;
  return *slots_.try_emplace(std::string(key)).first;
}

void Table::eraseIfEmpty(Entry& entry) {
  if (entry.second.exists() || entry.second.first != nullptr) return;
  bytes_ -= entry.first.size() + kSlotBytes;
  slots_.erase(slots_.find(entry.first));
}

/// As if every key were new; so a full table may refuse what would have fitted just so.
Table::Outcome Table::admit(uint64_t moreKeys, uint64_t moreBytes) const {
  const uint64_t bytes = bytes_ + moreBytes + moreKeys * kSlotBytes;
  if (bytes > limits_.bytes) return Refusal{"the store is full, bytes", bytes, limits_.bytes};
  if (slots_.size() + moreKeys > limits_.keys)
    return Refusal{"the store is full, keys", slots_.size() + moreKeys, limits_.keys};
  return {};
}

Table::Outcome Table::admitReply(uint64_t bytes) const {
  if (bytes > limits_.replyBytes) return Refusal{"reply too large", bytes, limits_.replyBytes};
  return {};
}

/// SET, and all that has its effect: stores, then wakes.
void Table::write(Entry& entry, std::string_view value) {
  Slot& slot = entry.second;
  const bool existed = slot.exists();
  if (slot.value) {
    bytes_ -= slot.value->size();
    slot.value->assign(value);
    // A small value mustn't keep a large one's memory, which nobody would count.
    if (slot.value->capacity() > 64 && slot.value->capacity() / 2 > value.size())
      slot.value->shrink_to_fit();
  } else {
    slot.value.emplace(value);
    keys_++;
  }
  bytes_ += value.size();
  noteChange(entry);
  if (!existed) appeared(entry);
  wake(entry, Whom::Everybody);
}

void Table::noteChange(const Entry& entry) {
  if (observer_) observer_->changed(entry.first, *entry.second.value);
}

}  // namespace regroup::store
