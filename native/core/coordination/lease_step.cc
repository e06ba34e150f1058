#include "core/coordination/lease_step.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/base/sha256.h"

namespace regroup::coordination {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

namespace {

/// Before each attempt to connect; the last one from then on. As in lib/coordination/server.ts.
constexpr milliseconds kPauses[] = {0ms, 20ms, 50ms, 100ms, 200ms, 500ms, 1000ms};
/// Renewals of a lease's time, so that some may be lost, and the pause between two at least.
constexpr int kRenewals = 5;
constexpr milliseconds kShortestInterval = 10ms;
/// What the server may have heard earlier of a broken connection, and what killing takes.
constexpr milliseconds kResumeMargin = 200ms;
/// Of the pauses: where nobody listens, asking costs nobody anything.
constexpr size_t kRefusedPause = 3;

}  // namespace

LeaseStep::LeaseStep(const Options& options, TimePoint now) : options_(options), lastBeat_(now) {}

milliseconds LeaseStep::interval() const {
  return std::max(options_.ttl / kRenewals, kShortestInterval);
}

LeaseStep::Next LeaseStep::next(const Moment& now, double chance) {
  if (isOver_) return {Order::Wait};
  if (isLost_) {
    isOver_ = true;
    return {Order::Lost};
  }
  if (isMoved_ || isGone_) {
    isOver_ = true;
    return {isMoved_ ? Order::Moved : Order::Gone};
  }
  const TimePoint stallsAt = lastBeat_ + options_.stall;
  if (now.at >= stallsAt) {
    isOver_ = true;
    return {Order::Stalled};
  }
  if (isUseless_) {
    onBroken(now);
    return {Order::Drop};
  }
  if (!output_.empty()) return {Order::Send};
  if (link_ == Link::None && !due_) {
    const milliseconds pause = kPauses[std::min(attempt_++, std::size(kPauses) - 1)];
    due_ = now.at + std::chrono::duration_cast<std::chrono::nanoseconds>(pause * (1 + chance) / 2);
  }
  if (due_ && now.at < *due_) return {Order::Wait, std::min(*due_, stallsAt)};

  switch (link_) {
    case Link::None:
      link_ = Link::Connecting;
      due_ = now.at + options_.ttl;
      return {Order::Connect};
    case Link::Connecting:
    case Link::Greeting:
    case Link::Proving:
      isUseless_ = true;
      return next(now, chance);
    case Link::Ready:
      break;
  }
  if (sentAt_) {  // and no answer in all this time
    isUseless_ = true;
    return next(now, chance);
  }
  Frame(output_, Type::Renew, nextId_++).u64(options_.lease);
  sentAt_ = now.boot;
  due_ = now.at + options_.ttl;
  return {Order::Send};
}

void LeaseStep::onConnected(TimePoint now, std::string nonce) {
  if (link_ != Link::Connecting) return;
  link_ = Link::Greeting;
  nonces_.agent = std::move(nonce);
  due_ = now + options_.ttl;
  output_ = kPreface;
  Frame(output_, Type::Hello, 0).u16(kVersion);
}

void LeaseStep::onBroken(const Moment& now) {
  if (link_ == Link::Ready && fence_)
    fence_ = std::min(*fence_, now.boot + kResumeWindow - kResumeMargin);
  link_ = Link::None;
  isUseless_ = false;
  due_.reset();
  sentAt_.reset();
  input_.clear();
  output_.clear();
}

void LeaseStep::onRefused(const Moment& now, BootTime since) {
  onBroken(now);
  attempt_ = std::min(attempt_, kRefusedPause);
  // Past the fence, the lease may have ended before the server did.
  if (!isOwn_ || !fence_ || now.boot >= *fence_) return;
  fence_ = std::max(*fence_, *confirmed_);
  if (options_.refusals == 0ms) return;
  if (!refusedSince_) refusedSince_ = since;
  isGone_ = since - *refusedSince_ >= options_.refusals;
  if (!isGone_) fence_ = std::max(*fence_, since + granted_ - options_.margin);
}

std::optional<BootTime> LeaseStep::onInput(std::string_view bytes, const Moment& now) {
  if (isOver_ || isUseless_) return std::nullopt;
  input_ += bytes;
  std::optional<BootTime> fence;
  for (;;) {
    const auto parsed = parseAnswer(input_);
    isUseless_ = isUseless_ || !parsed;
    if (isUseless_ || isLost_ || isMoved_ || !parsed->answer) return fence;
    if (const auto moved = onAnswer(*parsed->answer, now)) fence_ = confirmed_ = fence = moved;
    input_.erase(0, parsed->bytes);
  }
}

/// Anything but what was asked for is of somebody who isn't our server.
std::optional<BootTime> LeaseStep::onAnswer(const Answer& answer, const Moment& now) {
  const auto* const welcome = std::get_if<Welcome>(&answer.body);
  if (link_ == Link::Greeting && welcome != nullptr && welcome->version == kVersion) {
    welcomed_ = welcome->incarnation;
    isOwnWelcome_ = !welcome->address.empty() && welcome->address == options_.server;
    if (options_.token.empty() && welcome->nonce.empty())
      onWelcome(now);
    else
      prove(welcome->nonce);
    return std::nullopt;
  }
  if (link_ == Link::Proving) {
    const auto* const proved = std::get_if<Proved>(&answer.body);
    isUseless_ =
        proved == nullptr || !isSameSecret(proved->proof, serverProof(options_.token, nonces_));
    if (!isUseless_) onWelcome(now);
    return std::nullopt;
  }
  if (link_ != Link::Ready || !sentAt_ || answer.id != nextId_ - 1) {
    isUseless_ = true;
    return std::nullopt;
  }
  if (const auto* const refused = std::get_if<Refused>(&answer.body)) {
    isLost_ = refused->why == Why::LeaseLost;
    isUseless_ = !isLost_;
    return std::nullopt;
  }
  const auto* const leased = std::get_if<Leased>(&answer.body);
  if (leased == nullptr || leased->lease != options_.lease) {
    isUseless_ = true;
    return std::nullopt;
  }
  attempt_ = 0;
  refusedSince_.reset();
  granted_ = std::min(leased->ttl, options_.ttl);
  const BootTime sent = *std::exchange(sentAt_, std::nullopt);
  // From the last one's sending, so that answers that take long cost no renewal.
  const TimePoint sentThen = *due_ - options_.ttl;
  due_ = std::max(sentThen + interval(), now.at);
  return sent + granted_ - options_.margin;
}

/// Where only one side has a token, nothing comes of it: the agent's other connection says so.
void LeaseStep::prove(std::string_view nonce) {
  isUseless_ = options_.token.empty() || nonce.size() != kNonceBytes;
  if (isUseless_) return;
  link_ = Link::Proving;
  nonces_.server = nonce;
  Frame(output_, Type::Proof, 0).text(nonces_.agent).text(agentProof(options_.token, nonces_));
}

/// One that isn't at the address that it tells may be behind something that leads to several.
void LeaseStep::onWelcome(const Moment& now) {
  const bool wasOwn = std::exchange(isOwn_, isOwnWelcome_);
  const bool isAnother = incarnation_ && *incarnation_ != welcomed_;
  if (!isAnother || !wasOwn || !isOwn_ || !fence_ || now.boot >= *fence_) {
    incarnation_ = welcomed_;
    link_ = Link::Ready;
    due_ = now.at;
    return;
  }
  // What the other one may have done when a connection broke, it hasn't.
  fence_ = std::max(*fence_, *confirmed_);
  isMoved_ = true;
}

}  // namespace regroup::coordination
