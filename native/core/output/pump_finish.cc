#include <errno.h>
#include <sys/ioctl.h>

#include <algorithm>

#include "core/output/pump_impl.h"

namespace regroup {

namespace {

/// A finish that waits for a slow console ends by then, whatever progress it makes.
constexpr std::chrono::seconds kMaxFinish{30};

}  // namespace

void Pump::Impl::startFinish(std::unique_ptr<Finish> given) {
  Finish& finish = *finishes_.emplace_back(std::move(given));
  finish.deadline = loop_->now() + finish.drain + kMaxFinish;
  for (const StreamId id : finish.ids) {
    const auto found = streams_.find(id);
    if (found == streams_.end() || found->second->finish != nullptr) continue;
    Stream& stream = *found->second;
    stream.finish = &finish;
    if (stream.ended) continue;
    finish.reading++;
    if (stream.atEnd) continue;
    int owed = 0;
    if (::ioctl(stream.pipe.get(), FIONREAD, &owed) == 0) stream.owed = static_cast<size_t>(owed);
    const TimePoint due = loop_->now() + finish.drain;
    stream.drainTimer = loop_->setTimer(due, [this, &stream] { expire(stream); });
  }
  settleSoon();
}

/// Not at once: whoever noticed is still amid a stream or a console.
void Pump::Impl::settleSoon() {
  if (finishes_.empty() || std::exchange(settling_, true)) return;
  loop_->post([this] { settle(); });
}

void Pump::Impl::settle() {
  settling_ = false;
  for (auto at = finishes_.begin(); at != finishes_.end();) {
    Finish& finish = **at;
    loop_->cancelTimer(std::exchange(finish.timer, 0));
    if (!settled(finish)) {
      ++at;
      continue;
    }
    const auto whole = std::move(*at);
    at = finishes_.erase(at);
    complete(*whole);
  }
  if (closing_ && finishes_.empty()) loop_->stop();
}

/// If not, a timer or a change of a console comes back to it.
bool Pump::Impl::settled(Finish& finish) {
  if (finish.reading > 0 && loop_->now() >= finish.deadline) hurry(finish);
  if (finish.reading > 0) {
    if (loop_->now() < finish.deadline)
      finish.timer = loop_->setTimer(finish.deadline, [this] { settleSoon(); });
    return false;
  }

  if (!std::exchange(finish.flushing, true)) {
    for (Slot& slot : slots_) {
      const bool used = std::any_of(finish.ids.begin(), finish.ids.end(), [&](StreamId id) {
        const auto found = streams_.find(id);
        return found != streams_.end() && found->second->slot == &slot;
      });
      if (used) finish.marks.emplace_back(&slot, slot.console->accepted());
    }
  }
  for (const auto& [slot, mark] : finish.marks) {
    if (!consoleSettled(finish, *slot, mark)) return false;
  }
  return true;
}

bool Pump::Impl::consoleSettled(Finish& finish, Slot& slot, uint64_t mark) {
  Console& console = *slot.console;
  if (console.settled() >= mark) return true;
  const TimePoint due = std::min(console.lastProgress() + options_.consoleGiveUp, finish.deadline);
  if (loop_->now() < due) {
    finish.timer = loop_->setTimer(due, [this] { settleSoon(); });
    return false;
  }

  for (const StreamId id : finish.ids) {
    const auto found = streams_.find(id);
    if (found == streams_.end() || found->second->slot != &slot) continue;
    (void)console.giveUp(id, found->second->sinks.file);  // complete() asks for the count
    break;
  }
  resume(slot);
  return true;
}

/// Its consoles are so slow that it would take for ever: the files count.
void Pump::Impl::hurry(Finish& finish) {
  for (const StreamId id : finish.ids) {
    const auto found = streams_.find(id);
    if (found == streams_.end() || found->second->finish != &finish) continue;
    found->second->hurried = true;
  }
  for (Slot& slot : slots_) resume(slot);
}

void Pump::Impl::complete(Finish& finish) {
  std::vector<std::string> tails;
  tails.reserve(finish.ids.size());
  for (const StreamId id : finish.ids) {
    const auto found = streams_.find(id);
    if (found == streams_.end() || found->second->finish != &finish) {
      tails.emplace_back();
      continue;
    }
    Stream& stream = *found->second;
    tails.push_back(stream.tail.take());
    if (stream.slot) {
      const uint64_t dropped = stream.slot->console->takeDropped(id);
      if (dropped > 0) report(id, stream.consoleName(), EAGAIN, dropped);
    }
    if (stream.filtered != nullptr && --stream.filtered->users == 0)
      filtered_.erase(filtered_.find(stream.filtered->path));
    streams_.erase(found);
  }
  if (finish.done) finish.done(std::move(tails));
}

void Pump::Impl::shutDown() {
  closing_ = true;
  auto finish = std::make_unique<Finish>();
  for (const auto& [id, stream] : streams_) {
    if (stream->finish == nullptr) finish->ids.push_back(id);
  }
  startFinish(std::move(finish));
  for (const auto& [id, stream] : streams_) expire(*stream);
}

}  // namespace regroup
