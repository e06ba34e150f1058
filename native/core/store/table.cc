#include "core/store/table.h"

#include <charconv>

namespace regroup::store {

namespace {

/// What a slot, a queued value and a waiter cost beside their bytes: nodes, buckets, malloc's
/// headers. Rounded up; the limit is about orders of magnitude.
constexpr uint64_t kSlotBytes = 192;
constexpr uint64_t kQueuedBytes = 64;
constexpr uint64_t kWaiterBytes = 48;

constexpr size_t kKeptWaiters = 4;

/// As C's strtoll does in base 10, which is what stock servers call: blanks, a sign, digits, and
/// whatever follows. Nothing where there are no digits, or too many.
std::optional<int64_t> parseCounter(std::string_view text) {
  size_t i = 0;
  while (i < text.size() && (text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r'))) i++;
  bool negative = false;
  if (i < text.size() && (text[i] == '-' || text[i] == '+')) negative = text[i++] == '-';
  const size_t firstDigit = i;
  // Kept negative, since INT64_MIN has no positive counterpart.
  int64_t value = 0;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; i++) {
    if (__builtin_mul_overflow(value, 10, &value)) return std::nullopt;
    if (__builtin_sub_overflow(value, text[i] - '0', &value)) return std::nullopt;
  }
  if (i == firstDigit) return std::nullopt;
  if (!negative && __builtin_sub_overflow(0, value, &value)) return std::nullopt;
  return value;
}

/// The least decimal text.
struct CounterText {
  explicit CounterText(int64_t value) : end(std::to_chars(digits, std::end(digits), value).ptr) {}
  operator std::string_view() const { return {digits, static_cast<size_t>(end - digits)}; }
  char digits[20];
  char* end;
};

constexpr Refusal kNotANumber{"stoll: the key's value isn't a number"};

}  // namespace

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
  const Entry* entry = lookup(request.key);
  int64_t sum = 0;
  if (entry != nullptr && entry->second.value) {
    const auto current = parseCounter(*entry->second.value);
    if (!current) return kNotANumber;
    sum = *current;
  }
  // Wraps, as stock's does.
  (void)__builtin_add_overflow(sum, request.number, &sum);
  const CounterText text(sum);

  if (auto refusal = admit(1, request.key.size() + std::string_view(text).size())) return refusal;
  write(entryOf(request.key), text);
  appendI64(reply, sum);
  return {};
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

Table::Outcome Table::barrier(Client& client, const Request& request, std::string& reply) {
  const Entry* known = lookup(request.key);
  int64_t arrived = 0;
  if (known != nullptr && known->second.value) {
    const auto counter = parseCounter(*known->second.value);
    if (!counter) return kNotANumber;
    arrived = *counter;
  }
  (void)__builtin_add_overflow(arrived, 1, &arrived);
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
  } else {
    const bool existed = slot.exists();
    slot.value.emplace(text);
    bytes_ += slot.value->size();
    keys_++;
    if (!existed) appeared(entry);
    wake(entry, Whom::NotAtBarrier);
  }
  enlist(client, entry, true);
  waiting_++;
  return {};
}

int64_t Table::remove(std::string_view key) {
  const auto found = slots_.find(key);
  if (found == slots_.end() || !found->second.value) return 0;

  Slot& slot = found->second;
  bytes_ -= slot.value->size();
  slot.value.reset();
  keys_--;
  if (!slot.exists()) vanished(*found);
  eraseIfEmpty(*found);
  return 1;
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
  if (client.waiters_.capacity() > kKeptWaiters) client.waiters_ = {};
  client.waiters_.clear();
  client.missing_ = 0;
  waiting_--;
}

void Table::clear() {
  slots_.clear();
  released_.clear();
  keys_ = 0;
  bytes_ = 0;
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
  if (!existed) appeared(entry);
  wake(entry, Whom::Everybody);
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
