#include "core/coordination/state.h"

#include <algorithm>
#include <vector>

namespace regroup::coordination {

using std::chrono::milliseconds;

namespace {

/// Of a node of the table or of the history, with its strings' own memory.
constexpr size_t kNodeBytes = 160;

size_t bytesOf(std::string_view key, std::string_view value) {
  return kNodeBytes + key.size() + value.size();
}

size_t bytesOf(const Record& record) {
  return bytesOf(record.key, record.entry ? std::string_view(record.entry->value) : "");
}

}  // namespace

void State::each(std::string_view prefix,
                 const std::function<void(const std::string&, const Entry&)>& visit) const {
  for (auto at = table_.lower_bound(prefix); at != table_.end(); ++at) {
    if (!at->first.starts_with(prefix)) return;
    visit(at->first, at->second);
  }
}

bool State::holds(const Compare& compare) const {
  const auto found = table_.find(compare.key);
  if (compare.what == Compare::What::Absent) return found == table_.end();
  if (found == table_.end()) return false;
  return compare.what == Compare::What::Modified ? found->second.modified == compare.modified
                                                 : found->second.value == compare.value;
}

std::optional<Refusal> State::refusal(std::span<const Change> changes) const {
  std::vector<std::string_view> keys;
  size_t added = 0;
  size_t freed = 0;
  for (const Change& change : changes) {
    keys.push_back(change.key);
    const auto old = table_.find(change.key);
    if (old != table_.end()) freed += bytesOf(old->first, old->second.value);
    if (!change.value) continue;
    if (change.key.size() > limits_.keyBytes || change.value->size() > limits_.valueBytes)
      return Refusal::TooLarge;
    if (change.lease != 0 && !leases_.contains(change.lease)) return Refusal::LeaseLost;
    added += bytesOf(change.key, *change.value);
  }
  std::sort(keys.begin(), keys.end());
  if (std::adjacent_find(keys.begin(), keys.end()) != keys.end()) return Refusal::Twice;
  // Whoever makes room may always do so.
  if (added > freed && tableBytes_ - freed + added > limits_.tableBytes) return Refusal::Full;
  return std::nullopt;
}

std::variant<State::Done, Refusal> State::txn(std::span<const Compare> compares,
                                              std::span<const Change> changes) {
  if (std::max(compares.size(), changes.size()) > limits_.operations) return Refusal::TooLarge;
  const auto isHeld = [this](const Compare& compare) { return holds(compare); };
  if (!std::all_of(compares.begin(), compares.end(), isHeld)) return Done{false, revision_};
  if (const auto refused = refusal(changes)) return *refused;

  revision_++;
  bool changed = false;
  for (const Change& change : changes) {
    if (change.value) put(change.key, *change.value, change.lease);
    changed = change.value.has_value() || erase(change.key) || changed;
  }
  if (!changed) revision_--;
  forgetOldest();
  return Done{true, revision_};
}

void State::put(std::string_view key, std::string_view value, LeaseId lease) {
  auto found = table_.find(key);
  if (found == table_.end()) {
    found = table_.emplace(std::string(key), Entry{.created = revision_}).first;
  } else {
    tableBytes_ -= bytesOf(found->first, found->second.value);
  }
  auto& [own, entry] = *found;
  entry.value = value;
  entry.modified = revision_;
  bind(own, entry, lease);
  tableBytes_ += bytesOf(own, entry.value);
  record(own, entry);
}

/// False: there's none.
bool State::erase(std::string_view key) {
  const auto found = table_.find(key);
  if (found == table_.end()) return false;
  bind(found->first, found->second, 0);
  tableBytes_ -= bytesOf(found->first, found->second.value);
  record(found->first, std::nullopt);
  table_.erase(found);
  return true;
}

void State::bind(const std::string& key, Entry& entry, LeaseId lease) {
  if (entry.lease == lease) return;
  if (const auto old = leases_.find(entry.lease); old != leases_.end()) old->second.keys.erase(key);
  if (const auto found = leases_.find(lease); found != leases_.end())
    found->second.keys.insert(key);
  entry.lease = lease;
}

std::variant<LeaseId, Refusal> State::grant(milliseconds ttl, TimePoint now) {
  if (leases_.size() >= limits_.leases) return Refusal::Full;
  while (nextLease_ == 0 || leases_.contains(nextLease_)) nextLease_++;
  const LeaseId id = nextLease_++;
  const milliseconds granted = std::clamp(ttl, limits_.shortestTtl, limits_.longestTtl);
  leases_.emplace(id, Lease{granted, now + granted, {}});
  ends_.emplace(now + granted, id);
  return id;
}

milliseconds State::ttlOf(LeaseId id) const {
  const auto found = leases_.find(id);
  return found == leases_.end() ? milliseconds{0} : found->second.ttl;
}

bool State::renew(LeaseId id, TimePoint now) {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return false;
  moveEnd(id, found->second, now + found->second.ttl);
  return true;
}

void State::abandon(LeaseId id, TimePoint now, milliseconds window) {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return;
  moveEnd(id, found->second, std::min(found->second.end, now + window));
}

void State::moveEnd(LeaseId id, Lease& lease, TimePoint end) {
  ends_.erase({lease.end, id});
  lease.end = end;
  ends_.emplace(end, id);
}

bool State::revoke(LeaseId id) {
  const auto found = leases_.find(id);
  if (found == leases_.end()) return false;
  ends_.erase({found->second.end, id});
  const auto keys = std::move(found->second.keys);
  leases_.erase(found);
  if (!keys.empty()) revision_++;
  for (const std::string& key : keys) erase(key);
  forgetOldest();
  return true;
}

size_t State::expire(TimePoint now) {
  size_t ended = 0;
  for (; !ends_.empty() && ends_.begin()->first <= now; ended++) revoke(ends_.begin()->second);
  return ended;
}

std::optional<TimePoint> State::nextEnd() const {
  if (ends_.empty()) return std::nullopt;
  return ends_.begin()->first;
}

void State::record(std::string key, std::optional<Entry> entry) {
  history_.push_back({revision_, std::move(key), std::move(entry)});
  historyBytes_ += bytesOf(history_.back());
  recordedBytes_ += bytesOf(history_.back());
}

/// Whole revisions only.
void State::forgetOldest() {
  while (historyBytes_ > limits_.historyBytes && history_.front().revision != revision_) {
    forgotten_ = history_.front().revision;
    while (history_.front().revision == forgotten_) {
      historyBytes_ -= bytesOf(history_.front());
      history_.pop_front();
    }
  }
}

Revision State::oldestKept() const {
  return forgotten_ + 1;
}

Revision State::replay(Revision from, std::string_view prefix,
                       const std::function<bool(const Record&)>& visit) const {
  const auto isBefore = [](const Record& record, Revision revision) {
    return record.revision < revision;
  };
  bool goOn = true;
  Revision last = from;
  for (auto at = std::lower_bound(history_.begin(), history_.end(), from, isBefore);
       at != history_.end(); ++at) {
    if (!goOn && at->revision != last) return at->revision;
    last = at->revision;
    if (at->key.starts_with(prefix)) goOn = visit(*at) && goOn;
  }
  return std::max(from, revision_ + 1);
}

}  // namespace regroup::coordination
