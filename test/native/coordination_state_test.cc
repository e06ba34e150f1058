#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/coordination/state.h"
#include "test/native/tap.h"

using namespace regroup;
using namespace regroup::coordination;
using namespace std::chrono_literals;
using std::chrono::milliseconds;

namespace {

const TimePoint kStart{std::chrono::hours(1)};

State::Done done(const std::variant<State::Done, Refusal>& outcome) {
  const auto* const made = std::get_if<State::Done>(&outcome);
  if (made == nullptr) tap::fail(__FILE__, __LINE__, "a transaction was refused");
  return made == nullptr ? State::Done{} : *made;
}

std::optional<Refusal> refused(const std::variant<State::Done, Refusal>& outcome) {
  const auto* const refusal = std::get_if<Refusal>(&outcome);
  return refusal == nullptr ? std::nullopt : std::optional(*refusal);
}

Revision put(State& state, std::string_view key, std::string_view value, LeaseId lease = 0) {
  const Change change{key, value, lease};
  return done(state.txn({}, {&change, 1})).revision;
}

LeaseId grant(State& state, milliseconds ttl, TimePoint now = kStart) {
  const auto granted = state.grant(ttl, now);
  const auto* const id = std::get_if<LeaseId>(&granted);
  return id == nullptr ? 0 : *id;
}

std::vector<std::string> keys(const State& state, std::string_view prefix = "") {
  std::vector<std::string> found;
  state.each(prefix, [&](const std::string& key, const Entry&) { found.push_back(key); });
  return found;
}

/// Those of the changes from a revision on, as text: `3:a=1 4:b-`.
std::string changes(const State& state, Revision from, std::string_view prefix = "") {
  std::string text;
  (void)state.replay(from, prefix, [&](const Record& record) {
    text += (text.empty() ? "" : " ") + std::to_string(record.revision) + ":" + record.key +
            (record.entry ? "=" + record.entry->value : "-");
    return true;
  });
  return text;
}

}  // namespace

TEST("a change of a key has a revision of its own, and tells which one made the key") {
  State state({}, 1);

  CHECK_EQ(put(state, "a", "1"), Revision{1});
  CHECK_EQ(put(state, "a", "2"), Revision{2});
  CHECK_EQ(put(state, "b", ""), Revision{3});

  CHECK(state.table().at("a") == (Entry{"2", 1, 2, 0}));
  CHECK(state.table().at("b") == (Entry{"", 3, 3, 0}));
}

TEST("a prefix is bytes, and has nothing to do with parts of a path") {
  State state({}, 1);
  for (const char* key : {"a", "a/1", "a/10", "a0", "a/\xff", "b"}) put(state, key, "");

  CHECK(keys(state, "a/1") == (std::vector<std::string>{"a/1", "a/10"}));
  CHECK(keys(state, "a/") == (std::vector<std::string>{"a/1", "a/10", "a/\xff"}));
  CHECK_EQ(keys(state).size(), size_t{6});
  CHECK(keys(state, "c").empty());
}

TEST("a transaction makes all of its changes in one revision, or none") {
  State state({}, 1);
  put(state, "a", "1");
  const Compare unchanged{"a", Compare::What::Modified, 1, {}};
  const Compare fresh{"b", Compare::What::Absent, 0, {}};
  const Compare compares[] = {unchanged, fresh};
  const Change all[] = {{"a", "2"}, {"b", "1"}};

  const auto first = done(state.txn(compares, all));
  const auto second = done(state.txn(compares, all));

  CHECK(first.held);
  CHECK_EQ(first.revision, Revision{2});
  CHECK(!second.held);
  CHECK_EQ(second.revision, Revision{2});
  CHECK_EQ(changes(state, 1), "1:a=1 2:a=2 2:b=1");
}

TEST("a comparison with a value holds for that value of a key that's there") {
  State state({}, 1);
  put(state, "a", "");
  const Change change{"c", "made"};
  for (const auto& [key, value, holds] : std::vector<std::tuple<const char*, const char*, bool>>{
           {"a", "", true}, {"a", "x", false}, {"b", "", false}}) {
    const Compare compare{key, Compare::What::Value, 0, value};
    CHECK_EQ(done(state.txn({&compare, 1}, {&change, 1})).held, holds);
  }
}

TEST("a deletion of what isn't there changes nothing, and has no revision") {
  State state({}, 1);
  put(state, "a", "1");
  const Change gone{"b", std::nullopt};
  const Change both[] = {{"a", std::nullopt}, {"b", std::nullopt}};

  CHECK_EQ(done(state.txn({}, {&gone, 1})).revision, Revision{1});
  CHECK_EQ(done(state.txn({}, both)).revision, Revision{2});

  CHECK(keys(state).empty());
  CHECK_EQ(changes(state, 1), "1:a=1 2:a-");
  CHECK_EQ(state.tableBytes(), size_t{0});
}

TEST("what's refused changes nothing") {
  Limits limits;
  limits.keyBytes = 4;
  limits.valueBytes = 1000;
  limits.tableBytes = 3000;
  limits.operations = 3;
  State state(limits, 1);
  put(state, "full", std::string(1000, 'x'));
  put(state, "fuel", std::string(1000, 'x'));
  const auto tried = [&](std::vector<Change> all) { return refused(state.txn({}, all)); };

  CHECK(tried({{"later", ""}}) == Refusal::TooLarge);
  CHECK(tried({{"a", std::string_view("x", 1)}, {"a", ""}}) == Refusal::Twice);
  const std::string large(1001, 'x');
  CHECK(tried({{"a", large}}) == Refusal::TooLarge);
  CHECK(tried({{"a", ""}, {"b", ""}, {"c", ""}, {"d", ""}}) == Refusal::TooLarge);
  CHECK(tried({{"a", "", 77}}) == Refusal::LeaseLost);
  CHECK(tried({{"a", std::string_view(large).substr(1)}}) == Refusal::Full);

  CHECK_EQ(state.revision(), Revision{2});
  CHECK_EQ(changes(state, 3), "");
  // Room can always be made.
  CHECK(!tried({{"full", std::nullopt}, {"a", std::string_view(large).substr(1)}}));
}

TEST("a transaction whose comparisons fail is told so, whatever else is wrong with it") {
  State state({}, 1);
  const Compare compare{"a", Compare::What::Modified, 7, {}};
  const Change change{"b", "", 99};

  CHECK(!done(state.txn({&compare, 1}, {&change, 1})).held);
}

TEST("a lease ends when its time is over, with all of its keys in one revision") {
  State state({}, 100);
  const LeaseId lease = grant(state, 5s);
  put(state, "a", "1", lease);
  put(state, "b", "1", lease);
  put(state, "c", "1");

  CHECK(state.nextEnd() == kStart + 5s);
  CHECK_EQ(state.expire(kStart + 5s - 1ns), size_t{0});
  CHECK_EQ(state.expire(kStart + 5s), size_t{1});

  CHECK_EQ(changes(state, 4), "4:a- 4:b-");
  CHECK(keys(state) == std::vector<std::string>{"c"});
  CHECK(!state.renew(lease, kStart + 5s));
  CHECK(!state.revoke(lease));
  CHECK(!state.nextEnd());
  const Change late{"a", "2", lease};
  CHECK(refused(state.txn({}, {&late, 1})) == Refusal::LeaseLost);
}

TEST("leases that end at one moment end in a revision each, and one without keys in none") {
  State state({}, 1);
  for (const char* key : {"a", "b"}) put(state, key, "", grant(state, 1s));
  (void)grant(state, 1s);

  CHECK_EQ(state.expire(kStart + 1s), size_t{3});

  CHECK_EQ(changes(state, 3), "3:a- 4:b-");
}

TEST("a renewal gives a lease all of its time, and who is gone has a short window to come back") {
  State state({}, 1);
  const LeaseId lease = grant(state, 5s);
  put(state, "a", "", lease);

  CHECK(state.renew(lease, kStart + 3s));
  CHECK(state.nextEnd() == kStart + 8s);
  state.abandon(lease, kStart + 4s, 500ms);
  CHECK(state.nextEnd() == kStart + 4s + 500ms);
  state.abandon(lease, kStart + 4s + 400ms, 500ms);  // not later for it
  CHECK(state.nextEnd() == kStart + 4s + 500ms);
  CHECK(state.renew(lease, kStart + 4s + 499ms));
  CHECK(state.nextEnd() == kStart + 9s + 499ms);
  state.abandon(lease, kStart + 9s, 5s);
  CHECK(state.nextEnd() == kStart + 9s + 499ms);
}

TEST("a key is bound to the lease of its last change only") {
  State state({}, 1);
  const LeaseId first = grant(state, 1s);
  const LeaseId second = grant(state, 2s);
  put(state, "a", "", first);
  put(state, "a", "", second);
  put(state, "b", "", first);
  put(state, "b", "");

  CHECK_EQ(state.expire(kStart + 1s), size_t{1});
  CHECK_EQ(keys(state).size(), size_t{2});
  CHECK(state.revoke(second));
  CHECK(keys(state) == std::vector<std::string>{"b"});
}

TEST("a lease's time is kept within limits, and so is how many there are") {
  Limits limits;
  limits.leases = 2;
  State state(limits, 1);

  CHECK(state.ttlOf(grant(state, 0ms)) == limits.shortestTtl);
  CHECK(state.ttlOf(grant(state, milliseconds::max())) == limits.longestTtl);
  CHECK_EQ(grant(state, 1s), LeaseId{0});
}

TEST("ids of leases are none that a server before has given, and never 0") {
  State state({}, ~LeaseId{0});

  CHECK_EQ(grant(state, 1s), ~LeaseId{0});
  CHECK_EQ(grant(state, 1s), LeaseId{1});
}

TEST("changes are kept by whole revisions, and it's known from which one on") {
  Limits limits;
  limits.historyBytes = 2000;
  State state(limits, 1);
  CHECK_EQ(state.oldestKept(), Revision{1});
  const Change both[] = {{"a", "1"}, {"b", "1"}};
  for (int i = 0; i < 20; i++) (void)state.txn({}, both);

  const Revision oldest = state.oldestKept();
  CHECK(oldest > 1);
  CHECK(state.historyBytes() <= limits.historyBytes);
  size_t seen = 0;
  CHECK_EQ(state.replay(oldest, "", [&](const Record&) { return ++seen > 0; }), Revision{21});
  CHECK_EQ(seen, (20 - oldest + 1) * 2);

  // One that's larger than all that's kept is kept, until the next.
  put(state, "c", std::string(5000, 'x'));
  CHECK_EQ(state.oldestKept(), Revision{21});
  put(state, "c", "");
  CHECK_EQ(state.oldestKept(), Revision{22});
}

TEST("a replay stops between two revisions, and goes on where it stopped") {
  State state({}, 1);
  const Change both[] = {{"a", "1"}, {"b", "1"}};
  for (int i = 0; i < 3; i++) (void)state.txn({}, both);
  size_t seen = 0;
  const auto one = [&](const Record&) { return seen++, false; };

  CHECK_EQ(state.replay(1, "", one), Revision{2});
  CHECK_EQ(seen, size_t{2});
  CHECK_EQ(state.replay(2, "b", one), Revision{3});
  CHECK_EQ(seen, size_t{3});
  CHECK_EQ(state.replay(3, "none", one), Revision{4});
  CHECK_EQ(state.replay(9, "", one), Revision{9});
  CHECK_EQ(seen, size_t{3});
}

namespace {

/// What the state should be, in the plainest way: each revision's whole table.
struct Model {
  struct Held {
    std::string value;
    LeaseId lease;
    bool operator==(const Held&) const = default;
  };
  using Table = std::map<std::string, Held>;

  std::vector<Table> tables{{}};
  std::map<LeaseId, TimePoint> ends;

  Table& next() { return tables.emplace_back(Table(tables.back())); }

  void end(LeaseId lease) {
    Table table = tables.back();
    std::erase_if(table, [&](const auto& held) { return held.second.lease == lease; });
    if (table != tables.back()) tables.push_back(table);
    ends.erase(lease);
  }
};

/// What replaying the changes from each revision that's kept on makes of that revision's table.
bool replaysTo(const State& state, const Model& model) {
  for (Revision from = state.oldestKept(); from <= state.revision() + 1; from++) {
    Model::Table table = model.tables[from - 1];
    Revision last = from - 1;
    bool isInOrder = true;
    const Revision next = state.replay(from, "", [&](const Record& record) {
      isInOrder = isInOrder && record.revision >= last && record.revision >= from;
      last = record.revision;
      if (record.entry) {
        table[record.key] = {record.entry->value, record.entry->lease};
      } else {
        isInOrder = isInOrder && table.erase(record.key) == 1;
      }
      return true;
    });
    if (!isInOrder || next != state.revision() + 1 || table != model.tables.back()) return false;
  }
  return true;
}

}  // namespace

TEST("whatever is done in whatever order, table, leases and changes are what a plain model says") {
  for (uint32_t seed = 0; seed < 300; seed++) {
    std::mt19937 random(seed);
    const auto upTo = [&](uint32_t most) { return random() % (most + 1); };
    Limits limits;
    limits.historyBytes = 1000 + upTo(5000);
    State state(limits, 1);
    Model model;
    TimePoint now = kStart;
    std::vector<LeaseId> leases;  // ever
    const auto anyKey = [&] { return std::string(1, static_cast<char>('a' + upTo(5))); };
    const auto anyLease = [&] { return leases.empty() ? 0 : leases[upTo(leases.size() - 1)]; };

    for (int turn = 0; turn < 60; turn++) {
      now += milliseconds(upTo(300));
      // In the order of their ends, as time brings them.
      for (;;) {
        const auto first = std::min_element(
            model.ends.begin(), model.ends.end(), [](const auto& a, const auto& b) {
              return std::pair(a.second, a.first) < std::pair(b.second, b.first);
            });
        if (first == model.ends.end() || first->second > now) break;
        model.end(first->first);
      }
      (void)state.expire(now);

      switch (upTo(5)) {
        case 0: {
          const milliseconds ttl(100 + upTo(1500));
          leases.push_back(grant(state, ttl, now));
          model.ends[leases.back()] = now + ttl;
          break;
        }
        case 1: {
          const LeaseId lease = anyLease();
          const bool renewed = state.renew(lease, now);
          if (renewed != model.ends.contains(lease)) tap::fail(__FILE__, __LINE__, "renewal");
          if (renewed) model.ends[lease] = now + state.ttlOf(lease);
          break;
        }
        case 2: {
          const LeaseId lease = anyLease();
          state.abandon(lease, now, 200ms);
          const auto end = model.ends.find(lease);
          if (end != model.ends.end()) end->second = std::min(end->second, now + 200ms);
          break;
        }
        case 3:
          if (upTo(3) == 0) {
            const LeaseId lease = anyLease();
            if (state.revoke(lease) != model.ends.contains(lease))
              tap::fail(__FILE__, __LINE__, "revocation");
            if (model.ends.contains(lease)) model.end(lease);
          }
          break;
        default: {
          std::set<std::string> chosen;
          while (chosen.size() < 1 + upTo(2)) chosen.insert(anyKey());
          std::vector<Change> wanted;
          const std::string value = std::to_string(turn);
          const LeaseId lease = upTo(1) == 0 ? anyLease() : 0;
          for (const std::string& key : chosen)
            wanted.push_back(upTo(2) == 0 ? Change{key, std::nullopt} : Change{key, value, lease});
          const std::string compared = anyKey();
          const Compare compare{compared, Compare::What::Absent};
          const bool mustHold = upTo(1) == 0;
          const auto outcome = state.txn({&compare, mustHold ? size_t{1} : 0}, std::span(wanted));

          const bool holds = !mustHold || !model.tables.back().contains(compared);
          bool isLost = false;
          for (const Change& change : wanted)
            isLost = isLost || (change.value && lease != 0 && !model.ends.contains(lease));
          if (holds && isLost) {
            if (refused(outcome) != Refusal::LeaseLost) tap::fail(__FILE__, __LINE__, "lost lease");
            break;
          }
          if (done(outcome).held != holds) tap::fail(__FILE__, __LINE__, "comparison");
          if (!holds) break;
          Model::Table table = model.tables.back();
          bool changed = false;
          for (const Change& change : wanted) {
            const std::string key(change.key);
            if (change.value) table[key] = {value, lease};
            changed = change.value || table.erase(key) > 0 || changed;
          }
          if (changed) model.tables.push_back(table);
        }
      }

      Model::Table table;
      state.each("", [&](const std::string& key, const Entry& entry) {
        table[key] = {entry.value, entry.lease};
      });
      if (table != model.tables.back() || state.revision() != model.tables.size() - 1 ||
          state.leases() != model.ends.size() || !replaysTo(state, model)) {
        tap::fail(__FILE__, __LINE__,
                  "seed " + std::to_string(seed) + ", turn " + std::to_string(turn));
        return;
      }
    }
  }
}

TAP_MAIN
