#pragma once

namespace regroup::store {

/// A place in a WaitList, or in none.
struct WaitLink {
  WaitLink* before = nullptr;
  WaitLink* after = nullptr;

  bool isLinked() const { return before != nullptr; }
};

/// Who waits, the longest-waiting first. All moves are O(1), however many there are.
///
/// Invariant: a ring; the list itself is its beginning and its end.
template <typename Owner>
struct WaitList : WaitLink {
  /// `of`: whose list it is; null for one that nobody need be told about when it empties.
  explicit WaitList(Owner* of) : owner(of) { before = after = this; }
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;

  bool isEmpty() const { return after == this; }

  void pushBack(WaitLink& link) {
    link.before = before;
    link.after = this;
    before->after = &link;
    before = &link;
  }

  /// Everybody of `other`, behind those that are here.
  void takeAll(WaitList& other) {
    if (other.isEmpty()) return;
    other.after->before = before;
    before->after = other.after;
    other.before->after = this;
    before = other.before;
    other.before = other.after = &other;
  }

  /// Takes it out of whatever list it's in. @returns that list, if it was the last one there
  static WaitList* unlink(WaitLink& link) {
    WaitLink* const neighbour = link.before == link.after ? link.before : nullptr;
    link.before->after = link.after;
    link.after->before = link.before;
    link.before = link.after = nullptr;
    return static_cast<WaitList*>(neighbour);
  }

  Owner* const owner;
};

}  // namespace regroup::store
