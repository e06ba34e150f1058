#include "core/store/table.h"

#include "core/base/free_memory.h"
#include "core/store/counter.h"

namespace regroup::store {

namespace {

constexpr size_t kKeptWaiters = 4;

}  // namespace

Table::Outcome Table::wait(Client& client, const Request& request, std::string& reply) {
  bool allExist = true;
  uint64_t bytes = 0;
  for (const std::string_view key : request.list) {
    const Entry* entry = lookup(key);
    allExist = allExist && entry != nullptr && entry->second.exists();
    bytes += key.size() + kWaiterBytes;
  }
  if (allExist) {
    reply += kStatusOk;
    return {};
  }

  if (auto refusal = admit(request.list.size(), bytes)) return refusal;
  client.waiters_.reserve(request.list.size());
  for (const std::string_view key : request.list) enlist(client, entryOf(key), false);
  waiting_++;
  return {};
}

Table::Outcome Table::barrier(Client& client, const Request& request, std::string& reply) {
  int64_t arrived = 0;
  if (!addTo(request.key, 1, arrived)) return kNotANumber;
  const CounterText text(arrived);
  if (auto refusal = admit(1, request.key.size() + std::string_view(text).size() + kWaiterBytes))
    return refusal;

  Entry& entry = entryOf(request.key);
  if (arrived >= request.number) {
    write(entry, text);  // wakes everybody at this key
    reply += kStatusOk;
    return {};
  }

  // Not write(): those who arrived before are still to wait. Whoever waits for the key with
  // WAIT is released, as a WAIT that came now would be (T-075).
  Slot& slot = entry.second;
  if (slot.value) {
    bytes_ += std::string_view(text).size();
    bytes_ -= slot.value->size();
    slot.value->assign(text);
    noteChange(entry);
  } else {
    const bool existed = slot.exists();
    slot.value.emplace(text);
    bytes_ += slot.value->size();
    keys_++;
    noteChange(entry);
    if (!existed) appeared(entry);
    wake(entry, Whom::NotAtBarrier);
  }
  enlist(client, entry, true);
  waiting_++;
  return {};
}

void Table::forget(Client& client) {
  if (!client.waiting()) return;
  for (Waiter& waiter : client.waiters_) {
    Entry& entry = *waiter.entry;
    Slot& slot = entry.second;
    (waiter.before != nullptr ? waiter.before->after : slot.first) = waiter.after;
    (waiter.after != nullptr ? waiter.after->before : slot.last) = waiter.before;
    bytes_ -= kWaiterBytes;
    // A key that's waited for twice is still in the list, so that its slot stays until then.
    eraseIfEmpty(entry);
  }
  // A few places are kept for the next wait; many would be a silent connection's for weeks.
  if (client.waiters_.capacity() > kKeptWaiters) freeMemory(client.waiters_);
  client.waiters_.clear();
  client.missing_ = 0;
  waiting_--;
}

void Table::appeared(Entry& entry) {
  for (Waiter* waiter = entry.second.first; waiter != nullptr; waiter = waiter->after)
    waiter->client->missing_ -= !waiter->atBarrier;
}

void Table::vanished(Entry& entry) {
  for (Waiter* waiter = entry.second.first; waiter != nullptr; waiter = waiter->after)
    waiter->client->missing_ += !waiter->atBarrier;
}

/// Releases those that wait for nothing else and, if they're meant too, those at the barrier.
/// The key exists, so that its slot stays.
void Table::wake(Entry& entry, Whom whom) {
  for (Waiter* waiter = entry.second.first; waiter != nullptr;) {
    Client& client = *waiter->client;
    const bool ready = waiter->atBarrier ? whom == Whom::Everybody : client.missing_ == 0;
    waiter = waiter->after;
    if (!ready) continue;
    // A client's waiters at one key are neighbours; step over those that go with it.
    while (waiter != nullptr && waiter->client == &client) waiter = waiter->after;
    release(client);
  }
}

void Table::release(Client& client) {
  forget(client);
  released_.push_back(&client);
}

void Table::enlist(Client& client, Entry& entry, bool atBarrier) {
  Slot& slot = entry.second;
  client.waiters_.reserve(client.waiters_.size() + 1);
  Waiter& waiter =
      client.waiters_.emplace_back(Waiter{&client, &entry, slot.last, nullptr, atBarrier});
  (slot.last != nullptr ? slot.last->after : slot.first) = &waiter;
  slot.last = &waiter;
  client.missing_ += !atBarrier && !slot.exists();
  bytes_ += kWaiterBytes;
}

}  // namespace regroup::store
