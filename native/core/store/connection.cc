#include "core/store/connection.h"

#include <errno.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "core/store/engine.h"

namespace regroup::store {

namespace {

/// What an idle connection may keep of its buffers.
constexpr size_t kKeptBytes = 1 << 10;
/// Given to the kernel at once, which copies it.
constexpr size_t kSentBytes = 256 << 10;
constexpr size_t kSentParts = 64;

// A turn at once: enough for whoever asks and waits, or asks a few things at a time.
constexpr size_t kRequestsAtOnce = 64;
constexpr std::chrono::microseconds kTimeAtOnce{50};
// A turn of its own.
constexpr size_t kRequests = 256;
constexpr std::chrono::microseconds kTime{250};

}  // namespace

Connection::Connection(Engine& engine, Served& served, Fd fd)
    : engine_(engine), served_(&served), fd_(std::move(fd)), events_(EPOLLIN) {}

Connection::~Connection() {
  session_.reset();
  engine_.loop().remove(fd_.get(), this);
  engine_.loop().cancelTimer(stallTimer_);
  engine_.loop().cancelTimer(quietTimer_);
  engine_.loop().cancelTimer(choiceTimer_);
  engine_.cancelTurn(*this);
  engine_.noteHolder(*this, false);
  Engine::Shared& shared = engine_.shared();
  shared.held -= counted_;
  shared.garbage.add(std::move(unserved_));
  shared.garbage.add(std::move(unread_));
  if (!shared.garbage.isEmpty()) engine_.workSoon();
}

Result<void> Connection::watch() {
  auto watched = engine_.loop().add(fd_.get(), events_, this);
  if (watched && served_->patience) armChoiceTimer(*served_->patience);
  return watched;
}

void Connection::onReady(uint32_t events) {
  bool alive = !retired_;
  if (alive && (events & EPOLLOUT)) alive = flush();
  if (alive && (events & EPOLLIN)) {
    alive = receive(Turn::AtOnce);
  } else if (alive && (events & (EPOLLERR | EPOLLHUP))) {
    alive = lost();
  }
  if (!alive || !update()) engine_.drop(*this);
}

void Connection::onTurn() {
  busy_ = more_;
  bool alive = flush();
  if (alive) alive = more_ ? serveHeld(Turn::Own) : receive(Turn::Own);
  busy_ = busy_ && more_;
  if (!alive || !update()) engine_.drop(*this);
}

void Connection::retire() {
  retired_ = true;
  tellRetired();
  engine_.cancelTurn(*this);
  engine_.loop().cancelTimer(std::exchange(quietTimer_, 0));
  engine_.loop().cancelTimer(std::exchange(stallTimer_, 0));
  engine_.loop().cancelTimer(std::exchange(choiceTimer_, 0));
}

void Connection::giveUp(const std::string& why) {
  (void)fault(why);
  Engine::Shared& shared = engine_.shared();
  shared.held -= std::exchange(counted_, 0);
  shared.garbage.add(std::exchange(unserved_, {}));
  shared.garbage.add(std::exchange(unread_, {}));
  engine_.workSoon();
  more_ = false;
  retire();
  close();
}

void Connection::send(std::string_view bytes) {
  if (retired_ || lost_) return;
  if (unread_.empty()) {
    const iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    const ssize_t sent = write({&part, 1});
    // Broken, which no event tells of at shared memory.
    if (sent < 0 && errno != EAGAIN) return close();
    served_->board->bytesOut += static_cast<size_t>(std::max<ssize_t>(sent, 0));
    bytes.remove_prefix(static_cast<size_t>(std::max<ssize_t>(sent, 0)));
    if (bytes.empty()) return tell();
  }
  const ServerOptions& options = engine_.options();
  if (unread_.size() + bytes.size() > options.unreadBytes + options.table.replyBytes) {
    (void)fault("leaves too much unread");
    return close();
  }
  Reply reply;
  reply.append(bytes);
  keepUnread(std::move(reply));
  if (!update()) close();
}

void Connection::close() {
  (void)::shutdown(fd_.get(), SHUT_RDWR);
}

bool Connection::paused() const {
  return eof_ || lost_ || unread_.size() >= engine_.options().unreadBytes;
}

/// The peer is gone. What it has asked for is applied as a whole nonetheless, if that has begun.
bool Connection::lost() {
  if (!more_) return false;
  lost_ = true;
  engine_.loop().remove(fd_.get(), this);
  engine_.shared().garbage.add(std::exchange(unread_, {}));
  return true;
}

Session::Turn Connection::limitsOf(Turn turn) const {
  const size_t replyBytes = engine_.options().unreadBytes;
  if (turn == Turn::AtOnce) return {kRequestsAtOnce, replyBytes, kTimeAtOnce, true};
  return {kRequests, replyBytes, kTime};
}

/// Reads once, and serves.
bool Connection::receive(Turn turn) {
  // Those in hand come first; they're in line for a turn of their own.
  if (paused() || more_) return true;
  char* const buffer = engine_.shared().input;
  const ssize_t size = read(buffer, kTurnBytes);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  if (size == 0) {
    eof_ = true;
    return !unread_.empty();
  }

  served_->board->bytesIn += static_cast<size_t>(size);
  engine_.loop().cancelTimer(std::exchange(quietTimer_, 0));
  const std::string_view input(buffer, static_cast<size_t>(size));
  if (!unserved_.empty()) {
    unserved_.append(input);
    return serveHeld(turn);
  }
  size_t consumed = 0;
  const bool alive = serve(input, turn, consumed);
  if (alive) unserved_.append(input.substr(consumed));
  return alive;
}

bool Connection::serveHeld(Turn turn) {
  size_t consumed = 0;
  const bool alive = serve(unserved_.view(), turn, consumed);
  unserved_.dropFront(consumed);
  if (unserved_.size() <= kTurnBytes && unserved_.isLarge()) {
    // Its room was for a large request, which is done with.
    Bytes rest;
    rest.append(unserved_.view());
    engine_.shared().garbage.add(std::exchange(unserved_, std::move(rest)));
    engine_.workSoon();
  }
  if (unserved_.empty() && unserved_.held() > kKeptBytes) unserved_.clear();
  return alive;
}

bool Connection::serve(std::string_view input, Turn turn, size_t& consumed) {
  if (!session_ && !choose(input)) return false;
  if (!session_) return true;
  Reply& reply = engine_.shared().reply;
  const Session::Progress progress = session_->onInput(input, limitsOf(turn), reply);
  consumed = progress.consumed;
  more_ = !progress.hungry && consumed < input.size();
  if (served_->hasWork()) engine_.workSoon();

  const bool alive = write(reply);
  if (progress.fault) return fault(*progress.fault);
  if (progress.quiet && quietTimer_ == 0) armQuietTimer(*progress.quiet);
  return alive || lost();
}

void Connection::armQuietTimer(std::chrono::milliseconds quiet) {
  quietTimer_ = engine_.loop().setTimer(engine_.loop().now() + quiet, [this] {
    quietTimer_ = 0;
    session_->onQuiet();
    if (!serveHeld(Turn::AtOnce) || !update()) engine_.drop(*this);
  });
}

void Connection::armChoiceTimer(std::chrono::milliseconds patience) {
  choiceTimer_ = engine_.loop().setTimer(engine_.loop().now() + patience, [this, patience] {
    choiceTimer_ = 0;
    (void)fault("said nothing of use for " + std::to_string(patience.count()) + " ms");
    engine_.drop(*this);
  });
}

/// Finds whose connection this is. False: nobody's.
bool Connection::choose(std::string_view input) {
  bool undecided = false;
  for (const auto& protocol : served_->protocols) {
    const auto match = protocol->match(input);
    if (match == Protocol::Match::Yes) {
      engine_.loop().cancelTimer(std::exchange(choiceTimer_, 0));
      if (protocol.get() == served_->tcpStore && served_->loans > 0) return chooseBorrower();
      session_ = protocol->open(*this);
      return true;
    }
    if (match == Protocol::Match::Barred) return fault("not a protocol that's served here");
    undecided = undecided || match == Protocol::Match::NeedMore;
  }
  return undecided || fault("not a protocol that's served here");
}

/// A client of TCPStore at a port that's lent, or was. False: it was meant for a table that's gone.
bool Connection::chooseBorrower() {
  if (served_->borrower == nullptr || loan != served_->loans) return false;
  engine_.hand(*this, *served_->borrower);
  session_ = served_->tcpStore->open(*this);
  return true;
}

bool Connection::fault(const std::string& what) {
  served_->board->faults += 1;
  engine_.log("closed " + name() + ": " + what);
  return false;
}

/// Sends what this turn's requests gave; what the kernel doesn't take is kept. False: it's broken.
bool Connection::write(Reply& reply) {
  if (reply.empty()) return true;
  bool alive = true;
  if (!lost_ && unread_.empty()) {
    iovec parts[kSentParts];
    const ssize_t sent = write({parts, reply.gather(parts, kSentParts, kSentBytes)});
    alive = sent >= 0 || errno == EAGAIN;
    const size_t taken = static_cast<size_t>(std::max<ssize_t>(sent, 0));
    served_->board->bytesOut += taken;
    reply.drop(taken);
  }
  if (alive && !lost_ && !reply.empty())
    keepUnread(std::exchange(reply, {}));
  else
    reply.clear();
  return alive;
}

/// Once for each event, however fast the peer reads: others are to have their turn.
bool Connection::flush() {
  if (unread_.empty()) return true;
  iovec parts[kSentParts];
  const ssize_t sent = write({parts, unread_.gather(parts, kSentParts, kSentBytes)});
  if (sent < 0) return errno == EAGAIN || errno == EINTR;
  unread_.drop(static_cast<size_t>(sent));
  served_->board->bytesOut += static_cast<size_t>(sent);
  lastRead_ = engine_.loop().now();
  if (!unread_.empty()) return true;
  unread_ = {};
  return !eof_;
}

void Connection::keepUnread(Reply reply) {
  if (unread_.empty()) lastRead_ = engine_.loop().now();
  unread_.append(std::move(reply));
  if (stallTimer_ == 0) armStallTimer();
}

void Connection::armStallTimer() {
  const auto stall = engine_.options().stall;
  stallTimer_ = engine_.loop().setTimer(lastRead_ + stall, [this, stall] {
    stallTimer_ = 0;
    if (unread_.empty()) return;
    if (engine_.loop().now() < lastRead_ + stall) return armStallTimer();
    (void)fault("left " + std::to_string(unread_.size()) + " bytes unread for " +
                std::to_string(stall.count()) + " ms");
    engine_.drop(*this);
  });
}

/// After anything that may have changed what's held: limits, events, the next turn.
bool Connection::update() {
  const size_t holds = unserved_.held() + unread_.held();
  engine_.shared().held += holds - counted_;
  counted_ = holds;
  engine_.noteHolder(*this, holds > kKeptBytes);
  engine_.makeRoom();
  if (retired_) return false;
  if (lost_ && !more_) return false;

  const bool serves = (lost_ || !paused()) && (more_ || unheard());
  const bool sends = !unread_.empty() && hasRoomUnheard();
  if (!turn && (serves || sends)) engine_.runSoon(*this);
  tell();
  if (lost_) return true;
  // Who is busy isn't read from; the kernel needn't tell at each look that there's more.
  const bool reads = !paused() && !(busy_ && more_);
  const uint32_t events =
      (reads ? uint32_t{EPOLLIN} : 0u) | (unread_.empty() ? 0u : uint32_t{EPOLLOUT});
  if (events == events_) return true;
  events_ = events;
  return want(events);
}

ssize_t TcpConnection::read(char* to, size_t bytes) {
  return ::recv(fd().get(), to, bytes, 0);
}

ssize_t TcpConnection::write(std::span<const iovec> parts) {
  if (parts.size() == 1)
    return ::send(fd().get(), parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts.data());
  message.msg_iovlen = parts.size();
  return ::sendmsg(fd().get(), &message, MSG_NOSIGNAL);
}

std::string TcpConnection::ownAddress() const {
  auto address = ownAddressOf(fd());
  return address ? PeerName(*address).text() : "";
}

bool TcpConnection::want(uint32_t events) {
  return static_cast<bool>(engine().loop().modify(fd().get(), events, this));
}

}  // namespace regroup::store
