#include <tuple>
#include <utility>

#include "core/store/table.h"
#include "core/store/task.h"

namespace regroup::store {

namespace {

/// Keys of LIST_KEYS's reply are gathered in pieces of about as many bytes.
constexpr size_t kListPieceBytes = 256 << 10;

}  // namespace

Table::Task& Table::taskOf(Client& client) {
  if (!client.task_) client.task_ = std::make_unique<Task>();
  return *client.task_;
}

/// The client's next request may come.
void Table::finish(Client& client) {
  if (!client.task_) return;
  reservedKeys_ -= client.task_->reservedKeys;
  reservedBytes_ -= client.task_->reservedBytes;
  client.task_.reset();
}

/// Keeps so much room, and no more, of what admit() has granted, until finish().
void Table::reserve(Client& client, uint64_t keys, uint64_t bytes) {
  Task& task = taskOf(client);
  bytes += keys * kSlotBytes;
  reservedKeys_ += keys - std::exchange(task.reservedKeys, keys);
  reservedBytes_ += bytes - std::exchange(task.reservedBytes, bytes);
}

/// Copies some of `bytes` into the task's value. True: that was the last.
bool Table::copy(Client& client, std::string_view bytes, Slice& slice) {
  Value& value = taskOf(client).value;
  const auto next = bytes.substr(value.size(), slice.bytes);
  value.append(next, bytes.size());
  slice.spend(next.size());
  return value.size() == bytes.size();
}

Table::Outcome Table::compareSet(Client& client, const Request& request, Reply& reply) {
  const Slice slice;
  const auto [key, desired, expected] = std::tuple(request.key, request.value, request.expected);
  if (client.task_ || expected.size() > slice.bytes || desired.size() > slice.bytes)
    return compareLong(client, request, reply);

  const Entry* const entry = slots_.find(key);
  const Value* const current = entry && entry->second.value ? &*entry->second.value : nullptr;
  // A missing key equals an empty expectation only; any other is echoed as if it were there.
  if (!current && !expected.empty()) {
    appendString(reply.tail(), expected);
    return Done{};
  }
  if (current && !(current->size() == expected.size() && current->has(expected, 0)))
    return get(request, reply);

  if (auto refusal = admit(1, key.size() + desired.size())) return *refusal;
  write(entryOf(key), desired);
  appendI64(reply.tail(), static_cast<int64_t>(desired.size()));
  reply.append(desired);
  return Done{};
}

/// The same in steps. If somebody writes to the key between two of them, it begins anew.
Table::Outcome Table::compareLong(Client& client, const Request& request, Reply& reply) {
  Slice slice;
  const auto [key, desired, expected] = std::tuple(request.key, request.value, request.expected);
  const bool isNew = !client.task_;
  if (isNew) {
    if (auto refusal = admit(1, key.size() + desired.size())) return *refusal;
    reserve(client, 1, key.size() + desired.size());
  }
  Task& task = *client.task_;
  const Entry* const entry = slots_.find(key);
  const Value* const current = entry && entry->second.value ? &*entry->second.value : nullptr;
  if (isNew || task.isThere != (current != nullptr) ||
      (current && !current->isSame(task.current))) {
    task.isThere = current != nullptr;
    task.current = current ? current->shared() : Value();
    task.compared = 0;
    garbage_.add(std::exchange(task.value, {}));
  }

  bool isExpected = task.current.size() == expected.size();
  while (isExpected && task.isThere && task.compared < expected.size()) {
    if (!slice.isLeft()) return More{};
    const auto next = expected.substr(task.compared, slice.bytes);
    isExpected = current->has(next, task.compared);
    task.compared += next.size();
    slice.spend(next.size());
  }
  if (!isExpected && task.isThere) {
    finish(client);
    return get(request, reply);
  }

  if (!slice.isLeft() || !copy(client, isExpected ? desired : expected, slice)) return More{};
  Value value = std::move(task.value);
  appendI64(reply.tail(), static_cast<int64_t>(value.size()));
  reply.append(value);
  finish(client);
  if (isExpected) write(entryOf(key), std::move(value));
  return Done{};
}

Table::Outcome Table::check(Client& client, const Request& request, Reply& reply) {
  auto [strings, at] = client.task_ ? client.task_->cursor : Cursor{};
  Slice slice;
  char status = kStatusOk;
  for (const std::string_view key : request.list.from(at, strings)) {
    if (!slice.isLeft()) {
      taskOf(client).cursor = {strings, at};
      return More{};
    }
    const Entry* const entry = slots_.find(key);
    if (entry == nullptr || !entry->second.exists()) {
      status = kStatusNotReady;
      break;
    }
    slice.spend(key.size());
    strings++;
    at += 8 + key.size();
  }
  reply.tail() += status;
  finish(client);
  return Done{};
}

Table::Outcome Table::multiGet(Client& client, const Request& request, Reply& reply) {
  auto [strings, at] = client.task_ ? client.task_->cursor : Cursor{};
  uint64_t replied = client.task_ ? client.task_->replied : 0;
  Slice slice;
  for (const std::string_view key : request.list.from(at, strings)) {
    if (!slice.isLeft()) {
      taskOf(client).cursor = {strings, at};
      client.task_->replied = replied;
      return More{};
    }
    const Entry* const entry = slots_.find(key);
    const Value* const value = entry && entry->second.value ? &*entry->second.value : nullptr;
    const size_t size = value ? value->size() : 0;
    replied += 8 + size;
    if (auto refusal = admitReply(replied)) return *refusal;
    appendI64(reply.tail(), static_cast<int64_t>(size));
    if (value) reply.append(*value);
    slice.spend(key.size() + std::min(size, Value::kWholeBytes));
    strings++;
    at += 8 + key.size();
  }
  finish(client);
  return Done{};
}

Table::Outcome Table::multiSet(Client& client, const Request& request) {
  const Strings& list = request.list;
  const auto bytesFrom = [&list](Cursor cursor) {
    return list.bytes().size() - cursor.at - 8 * (list.size() - cursor.strings);
  };
  if (!client.task_) {
    // As if every key were new: a request is refused whole or applied whole.
    if (auto refusal = admit(list.size() / 2, bytesFrom({}))) return *refusal;
  }
  Cursor cursor = client.task_ ? client.task_->cursor : Cursor{};
  const auto later = [&] {
    taskOf(client).cursor = cursor;
    reserve(client, (list.size() - cursor.strings) / 2, bytesFrom(cursor));
    return More{};
  };

  Slice slice;
  auto string = list.from(cursor.at, cursor.strings).begin();
  for (; cursor.strings < list.size(); cursor.strings += 2, ++string) {
    if (!slice.isLeft()) return later();
    const std::string_view key = *string;
    const std::string_view value = *++string;
    if (value.size() > Slice().bytes) {
      if (!copy(client, value, slice)) return later();
      write(entryOf(key), std::exchange(client.task_->value, {}));
    } else {
      write(entryOf(key), value);
      slice.spend(key.size() + value.size());
    }
    cursor.at += 16 + key.size() + value.size();
  }
  finish(client);
  return Done{};
}

Table::Outcome Table::listKeys(Client& client, Reply& reply) {
  if (!client.task_) {
    if (auto refusal = admitReply(8 + keyBytes_)) return *refusal;
  }
  // Apart from the reply until the end, since their number comes first.
  Task& task = taskOf(client);
  Slice slice;
  for (; task.shard < Slots::kShards; task.shard++) {
    if (!slice.isLeft()) return More{};
    (void)slots_.forEachOf(task.shard, [&](const Entry& entry) {
      slice.spend(8 + entry.first.size());
      if (!entry.second.value) return true;
      auto& lists = task.lists;
      if (lists.empty() || lists.back()->size() >= kListPieceBytes)
        lists.push_back(std::make_shared<std::string>());
      appendString(*lists.back(), entry.first);
      task.listed++;
      task.replied += 8 + entry.first.size();
      return true;
    });
  }
  // Others may have added some.
  if (auto refusal = admitReply(8 + task.replied)) return *refusal;
  appendI64(reply.tail(), task.listed);
  for (Piece& piece : task.lists) {
    if (piece->size() > Value::kWholeBytes)
      reply.share(std::move(piece));
    else
      reply.append(*piece);
  }
  finish(client);
  return Done{};
}

}  // namespace regroup::store
