#include "core/store/connection.h"

#include <errno.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "core/base/free_memory.h"
#include "core/store/engine.h"

namespace regroup::store {

namespace {

/// What an idle connection may keep of its buffers.
constexpr size_t kKeptBytes = 1 << 10;
/// A connection that holds less is never closed for what all of them hold.
constexpr size_t kModestBytes = 64 << 10;

}  // namespace

Connection::Connection(Engine& engine, Served& served, Fd fd)
    : engine_(engine), served_(served), fd_(std::move(fd)), events_(EPOLLIN) {}

Connection::~Connection() {
  session_.reset();
  engine_.loop().remove(fd_.get(), this);
  engine_.loop().cancelTimer(stallTimer_);
  engine_.loop().cancelTimer(quietTimer_);
  engine_.cancelTurn(*this);
  engine_.shared().held -= counted_;
}

Result<void> Connection::watch() {
  return engine_.loop().add(fd_.get(), events_, this);
}

void Connection::onReady(uint32_t events) {
  bool alive = true;
  if (events & EPOLLOUT) alive = flush();
  if (alive && (events & EPOLLIN)) {
    alive = receive();
  } else if (events & (EPOLLERR | EPOLLHUP)) {
    alive = false;
  }
  if (!alive || !update()) engine_.drop(*this);
}

void Connection::onTurn() {
  const bool alive = more_ ? serveHeld() : receive();
  if (!alive || !update()) engine_.drop(*this);
}

void Connection::send(std::string_view bytes) {
  if (unread_.empty()) {
    const ssize_t sent = write(bytes);
    // Broken, which no event tells of at shared memory.
    if (sent < 0 && errno != EAGAIN) return close();
    if (sent > 0) noteSent(static_cast<size_t>(sent));
    bytes.remove_prefix(std::max<ssize_t>(sent, 0));
    if (bytes.empty()) return tell();
  }
  const ServerOptions& options = engine_.options();
  if (unread_.size() - sent_ + bytes.size() > options.unreadBytes + options.table.replyBytes) {
    (void)fault("leaves too much unread");
    return close();
  }
  keepUnread(bytes);
  if (!update()) close();
}

void Connection::close() {
  (void)::shutdown(fd_.get(), SHUT_RDWR);
}

bool Connection::paused() const {
  return eof_ || unread_.size() - sent_ >= engine_.options().unreadBytes;
}

/// Reads once, and serves.
bool Connection::receive() {
  // Those in hand come first; they're queued for a turn of their own.
  if (paused() || more_) return true;
  char* const buffer = engine_.shared().input;
  const ssize_t size = read(buffer, kTurnBytes);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  if (size == 0) {
    eof_ = true;
    return !unread_.empty();
  }

  served_.totals.bytesIn += static_cast<size_t>(size);
  engine_.loop().cancelTimer(std::exchange(quietTimer_, 0));
  const std::string_view input(buffer, static_cast<size_t>(size));
  if (!unserved_.empty()) {
    unserved_.append(input);
    return serveHeld();
  }
  size_t consumed = 0;
  const bool alive = serve(input, consumed);
  // The parser's views are done with; what it hasn't consumed is kept.
  if (alive) unserved_.assign(input.substr(consumed));
  return alive;
}

bool Connection::serveHeld() {
  size_t consumed = 0;
  const bool alive = serve(unserved_, consumed);
  unserved_.erase(0, consumed);
  if (unserved_.empty() && unserved_.capacity() > kKeptBytes) freeMemory(unserved_);
  return alive;
}

bool Connection::serve(std::string_view input, size_t& consumed) {
  if (!session_ && !choose(input)) return false;
  if (!session_) return true;
  std::string& reply = unread_.empty() ? engine_.shared().reply : unread_;
  if (sent_ > unread_.size() / 2) {
    unread_.erase(0, sent_);
    sent_ = 0;
  }
  const size_t replyBytes = engine_.options().unreadBytes;
  Session::Progress progress = session_->onInput(input, {kTurnRequests, replyBytes}, reply);
  consumed = progress.consumed;
  more_ = !progress.hungry && consumed < input.size();

  const bool alive = &reply == &unread_ ? flush() : sendReply();
  if (progress.fault) return fault(*progress.fault);
  if (progress.quiet && quietTimer_ == 0) armQuietTimer(*progress.quiet);
  return alive;
}

void Connection::armQuietTimer(std::chrono::milliseconds quiet) {
  quietTimer_ = engine_.loop().setTimer(engine_.loop().now() + quiet, [this] {
    quietTimer_ = 0;
    session_->onQuiet();
    if (!serveHeld() || !update()) engine_.drop(*this);
  });
}

/// Finds whose connection this is. False: nobody's.
bool Connection::choose(std::string_view input) {
  bool undecided = false;
  for (const auto& protocol : served_.protocols) {
    const auto match = protocol->match(input);
    if (match == Protocol::Match::Yes) {
      session_ = protocol->open(*this);
      return true;
    }
    undecided = undecided || match == Protocol::Match::NeedMore;
  }
  return undecided || fault("not a protocol that's served here");
}

bool Connection::fault(const std::string& what) {
  served_.totals.faults++;
  engine_.log("closed " + name() + ": " + what);
  return false;
}

/// Sends what this turn's requests gave; what the kernel doesn't take is kept.
bool Connection::sendReply() {
  std::string& reply = engine_.shared().reply;
  if (reply.empty()) return true;
  const ssize_t sent = write(reply);
  const bool alive = sent >= 0 || errno == EAGAIN;
  const size_t taken = static_cast<size_t>(std::max<ssize_t>(sent, 0));
  noteSent(taken);
  if (alive && taken < reply.size()) keepUnread(std::string_view(reply).substr(taken));
  reply.clear();
  if (reply.capacity() > engine_.options().unreadBytes) freeMemory(reply);
  return alive;
}

bool Connection::flush() {
  while (sent_ < unread_.size()) {
    const ssize_t sent = write(std::string_view(unread_).substr(sent_));
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    sent_ += static_cast<size_t>(sent);
    noteSent(static_cast<size_t>(sent));
    lastRead_ = engine_.loop().now();
  }
  freeMemory(unread_);
  sent_ = 0;
  return !eof_;
}

void Connection::noteSent(size_t bytes) {
  served_.totals.bytesOut += bytes;
}

void Connection::keepUnread(std::string_view bytes) {
  if (unread_.empty()) lastRead_ = engine_.loop().now();
  unread_.append(bytes);
  if (stallTimer_ == 0) armStallTimer();
}

void Connection::armStallTimer() {
  const auto stall = engine_.options().stall;
  stallTimer_ = engine_.loop().setTimer(lastRead_ + stall, [this, stall] {
    stallTimer_ = 0;
    if (unread_.empty()) return;
    if (engine_.loop().now() < lastRead_ + stall) return armStallTimer();
    (void)fault("left " + std::to_string(unread_.size() - sent_) + " bytes unread for " +
                std::to_string(stall.count()) + " ms");
    engine_.drop(*this);
  });
}

/// After anything that may have changed what's held: limits, events, the next turn.
bool Connection::update() {
  const size_t holds = unserved_.capacity() + unread_.capacity();
  size_t& heldByAll = engine_.shared().held;
  heldByAll += holds - counted_;
  const bool grew = holds > counted_;
  counted_ = holds;
  if (grew && holds > kModestBytes && heldByAll > engine_.options().heldBytes) {
    return fault("the server holds too much, bytes: " + std::to_string(heldByAll) +
                 ", max: " + std::to_string(engine_.options().heldBytes));
  }

  if (!paused() && !turn && (more_ || unheard())) engine_.runSoon(*this);
  tell();
  const uint32_t events =
      (paused() ? 0u : uint32_t{EPOLLIN}) | (unread_.empty() ? 0u : uint32_t{EPOLLOUT});
  if (events == events_) return true;
  events_ = events;
  return want(events);
}

ssize_t TcpConnection::read(char* to, size_t bytes) {
  return ::recv(fd().get(), to, bytes, 0);
}

ssize_t TcpConnection::write(std::string_view bytes) {
  return ::send(fd().get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

bool TcpConnection::want(uint32_t events) {
  return static_cast<bool>(engine().loop().modify(fd().get(), events, this));
}

}  // namespace regroup::store
