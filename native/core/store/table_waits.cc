#include "core/store/counter.h"
#include "core/store/table.h"
#include "core/store/task.h"

namespace regroup::store {

namespace {

/// Who waits for more is looked at behind all those who don't.
constexpr uint64_t kFewNames = 16;
constexpr size_t kFewBytes = 16 << 10;
/// A longer name costs more looks.
constexpr size_t kBytesPerLook = 256;
/// What a client keeps for its next wait.
constexpr size_t kKeptBytes = 64;

std::string_view nameAt(const Bytes& names, size_t at) {
  return *Strings(names.view().substr(at), 1).begin();
}

}  // namespace

Table::Outcome Table::wait(Client& client, const Request& request, Reply& reply) {
  const Strings& list = request.list;
  Slice slice;
  if (client.task_ || list.size() > slice.names || list.bytes().size() > slice.bytes)
    return waitForMany(client, request);

  size_t at = 0;
  for (const std::string_view name : list) {
    const Entry* const entry = slots_.find(name);
    if (entry == nullptr || !entry->second.exists()) break;
    at += 8 + name.size();
  }
  if (at == list.bytes().size()) {
    reply.tail() += kStatusOk;
    return Done{};
  }

  const uint64_t cost = list.bytes().size() + kWaiterBytes;
  if (auto refusal = admit(1, cost)) return *refusal;
  client.names_.append(list.bytes());
  beginWait(client, list.size(), cost);
  client.at_ = at;
  watch(client);
  return Done{};
}

/// Its names are copied first, and looked at when there's time.
Table::Outcome Table::waitForMany(Client& client, const Request& request) {
  const std::string_view names = request.list.bytes();
  const uint64_t cost = names.size() + kWaiterBytes;
  if (!client.task_) {
    if (auto refusal = admit(1, cost)) return *refusal;
    reserve(client, 1, cost);
  }
  Slice slice;
  Bytes& copied = client.task_->names;
  copied.append(names.substr(copied.size(), slice.bytes));
  if (copied.size() < names.size()) return More{};

  client.names_ = std::move(copied);
  finish(client);
  beginWait(client, request.list.size(), cost);
  client.left_ = client.count_;
  scans_.pushBack(client);
  return Done{};
}

void Table::beginWait(Client& client, uint64_t names, uint64_t cost) {
  client.count_ = names;
  client.at_ = 0;
  client.left_ = 0;
  client.cost_ = cost;
  counts_->bytes += cost;
  counts_->waiters += 1;
}

Table::Outcome Table::barrier(Client& client, const Request& request, Reply& reply) {
  int64_t arrived = 0;
  if (!addTo(request.key, 1, arrived)) return kNotANumber;
  const CounterText text(arrived);
  if (auto refusal = admit(1, request.key.size() + std::string_view(text).size() + kWaiterBytes))
    return *refusal;

  Entry& entry = entryOf(request.key);
  if (arrived >= request.number) {
    write(entry, text);  // wakes everybody at this key
    reply.tail() += kStatusOk;
    return Done{};
  }

  // Not write(): those who arrived before are still to wait. Whoever waits for the key with
  // WAIT is released, as a WAIT that came now would be (T-075).
  Slot& slot = entry.second;
  if (slot.value) {
    counts_->bytes -= slot.value->cost();
    slot.value->assign(text);
  } else {
    slot.value.emplace(text);
    counts_->keys += 1;
    keyBytes_ += 8 + request.key.size();
    wakeForName(slot);
  }
  counts_->bytes += slot.value->cost();
  if (observer_) observer_->changed(entry.first, *slot.value);
  beginWait(client, 0, kWaiterBytes);
  waitersOf(entry).atBarrier.pushBack(client);
  return Done{};
}

void Table::forget(Client& client) {
  unlink(client);
  endWait(client);
}

void Table::endWait(Client& client) {
  counts_->bytes -= client.cost_;
  counts_->waiters -= 1;
  // Many would be a silent connection's for weeks.
  if (client.names_.held() > kKeptBytes)
    garbage_.add(std::exchange(client.names_, {}));
  else
    client.names_.dropFront(client.names_.size());
}

void Table::leave(Client& client) {
  if (client.waiting()) forget(client);
  if (!client.task_) return;
  garbage_.add(std::move(client.task_->value));
  garbage_.add(std::move(client.task_->names));
  finish(client);
}

/// Its place may have been the last reason for a name to be known.
void Table::unlink(Client& client) {
  const auto* const emptied = WaitList<Entry>::unlink(client);
  if (emptied == nullptr || emptied->owner == nullptr) return;
  Entry& entry = *emptied->owner;
  if (!entry.second.waiters->isEmpty()) return;
  entry.second.waiters.reset();
  eraseIfEmpty(entry);
}

bool Table::advance(size_t looks) {
  const auto takeFirst = [](WaitList<Entry>& list) -> Client& {
    WaitLink& first = *list.after;
    WaitList<Entry>::unlink(first);
    return static_cast<Client&>(first);
  };
  released_.clear();
  while (looks > 0 && !due_.isEmpty()) {
    Client& client = takeFirst(due_);
    looks--;
    if (client.count_ > kFewNames || client.names_.size() > kFewBytes)
      scans_.pushBack(client);
    else
      look(client, looks);
  }
  while (looks > 0 && !scans_.isEmpty()) look(takeFirst(scans_), looks);
  return hasWork();
}

/// The name that it watched is there: looks whether the others are, one after the other. At the
/// first that's missing it waits again; when it has come round, all are there.
void Table::look(Client& client, size_t& looks) {
  for (; client.left_ > 0; client.left_--) {
    // At least one, so that it gets on.
    if (looks == 0) return scans_.pushBack(client);
    if (client.at_ == client.names_.size()) client.at_ = 0;
    const std::string_view name = nameAt(client.names_, client.at_);
    looks -= std::min(looks, 1 + name.size() / kBytesPerLook);
    const Entry* const entry = slots_.find(name);
    if (entry == nullptr || !entry->second.exists()) return watch(client);
    client.at_ += 8 + name.size();
  }
  endWait(client);
  released_.push_back(&client);
}

/// Waits at the name that's next. Once that's there, the others are to be looked at.
void Table::watch(Client& client) {
  const std::string_view name = nameAt(client.names_, client.at_);
  waitersOf(entryOf(name)).forName.pushBack(client);
  client.at_ += 8 + name.size();
  client.left_ = client.count_ - 1;
}

Waiters& Table::waitersOf(Entry& entry) {
  auto& waiters = entry.second.waiters;
  if (!waiters) waiters = std::make_unique<Waiters>(&entry);
  return *waiters;
}

void Table::wakeAll(Slot& slot) {
  if (!slot.waiters) return;
  due_.takeAll(slot.waiters->forName);
  due_.takeAll(slot.waiters->atBarrier);
  slot.waiters.reset();
}

void Table::wakeForName(Slot& slot) {
  if (!slot.waiters) return;
  due_.takeAll(slot.waiters->forName);
  if (slot.waiters->isEmpty()) slot.waiters.reset();
}

/// One element, one client: the others keep waiting, although the queue isn't empty. Who waits for
/// other names, too, takes no element, and so nobody's turn.
void Table::wakeForElement(Slot& slot) {
  if (!slot.waiters) return;
  auto& waiting = slot.waiters->forName;
  while (!waiting.isEmpty()) {
    auto& client = static_cast<Client&>(*waiting.after);
    WaitList<Entry>::unlink(client);
    due_.pushBack(client);
    if (client.count_ == 1) break;
  }
  if (slot.waiters->isEmpty()) slot.waiters.reset();
}

}  // namespace regroup::store
