#include "core/store/engine.h"

#include <errno.h>

#include <utility>

#include "core/store/connection.h"
#include "core/store/lane_listener.h"
#include "core/store/listener.h"

namespace regroup::store {

namespace {

/// Log lines a second; a port scanner could fill a disk otherwise.
constexpr int kLogBurst = 10;
/// What waits in line has so long between two looks at the sockets.
constexpr std::chrono::microseconds kRound{1000};
/// Of it, releasing who waits, and tidying up; what's asked for has the rest.
constexpr std::chrono::microseconds kWork{400};
/// Between two looks at the clock.
constexpr size_t kLooksPerStep = 64;

}  // namespace

Served::Served(Engine& engine, uint32_t id, std::shared_ptr<Board> shown,
               std::vector<ProtocolFactory> own)
    : board(std::move(shown)),
      table(engine.options().table, board->table),
      factories(std::move(own)) {
  for (const auto* each : {&engine.options().protocols, &factories}) {
    for (const auto& factory : *each) {
      protocols.push_back(factory(table, engine.loop()));
      if (const auto theirs = protocols.back()->patience()) patience = theirs;
    }
  }
  TcpStore::OnFirstUse onFirstUse;
  if (const auto& told = engine.options().onFirstUse)
    onFirstUse = [&told, id](TimePoint at) { told(id, at); };
  auto store = std::make_unique<TcpStore>(table, engine.options().tcpStore, board->tcpStore,
                                          std::move(onFirstUse));
  tcpStore = store.get();
  protocols.push_back(std::move(store));
}

Served::~Served() = default;

Engine::Engine(std::unique_ptr<Loop> loop, ServerOptions options, Fd spare)
    : loop_(std::move(loop)), options_(std::move(options)) {
  shared_.spare = std::move(spare);
}

Engine::~Engine() = default;

template <typename L>
Result<void> Engine::listen(Served& served, Fd fd) {
  auto listener = std::make_unique<L>(*this, served, std::move(fd));
  const auto watched = listener->watch();
  if (watched) served.listeners.push_back(std::move(listener));
  return watched;
}

Result<void> Engine::open(uint32_t id, Opening opening) {
  const auto lender = served_.find(opening.lender);
  if (opening.lender != 0 && lender == served_.end()) return Error{"bind", EBADF};
  auto served =
      std::make_unique<Served>(*this, id, std::move(opening.board), std::move(opening.protocols));
  for (Fd& fd : opening.listeners) {
    if (auto listening = listen<TcpListener>(*served, std::move(fd)); !listening)
      return listening.error();
  }
  if (opening.local) {
    if (auto listening = listen<LaneListener>(*served, std::move(opening.local)); !listening)
      return listening.error();
  }
  if (opening.lender != 0) lend(*lender->second, *served);
  served_.emplace(id, std::move(served));
  return {};
}

/// Who has connected before was meant for an earlier table, be it accepted or not.
void Engine::lend(Served& lender, Served& borrower) {
  if (lender.borrower) lender.borrower->lender = nullptr;
  lender.borrower = &borrower;
  borrower.lender = &lender;
  lender.loans++;
  for (const auto& listener : lender.listeners) listener->noteLoan();
}

void Engine::reset(uint32_t id) {
  const auto found = served_.find(id);
  if (found == served_.end()) return;
  auto old = std::move(found->second);
  old->board->reset();
  found->second = std::make_unique<Served>(*this, id, old->board, old->factories);
  Served& served = *found->second;
  served.listeners = std::move(old->listeners);
  // Those in the backlog were meant for the table that's gone.
  for (const auto& listener : served.listeners) listener->serveInstead(served);
  served.loans = old->loans;
  served.borrower = std::exchange(old->borrower, nullptr);
  if (served.borrower) served.borrower->lender = &served;
  if (Served* const lender = std::exchange(old->lender, nullptr)) {
    lender->borrower = nullptr;
    lend(*lender, served);
  }
  retire(std::move(old));
}

void Engine::close(uint32_t id) {
  const auto found = served_.find(id);
  if (found == served_.end()) return;
  auto old = std::move(found->second);
  served_.erase(found);
  old->listeners.clear();
  if (old->borrower) std::exchange(old->borrower, nullptr)->lender = nullptr;
  if (old->lender) std::exchange(old->lender, nullptr)->borrower = nullptr;
  retire(std::move(old));
}

void Engine::endService() {
  for (auto& [id, served] : served_) {
    served->listeners.clear();
    served->table.retire();
    served->mirror.reset();
  }
}

/// Nobody finds it any more. Its connections are closed in the next rounds, then its table is
/// dropped, each a few at a time.
void Engine::retire(std::unique_ptr<Served> served) {
  served->board = std::make_shared<Board>();
  served->table.retire();
  served->tcpStore->retire();
  // Its readers are told that it's closed; who comes next gets another one.
  served->mirror.reset();
  // Whoever asks meanwhile mustn't be served, nor hear of anything.
  for (const auto& connection : served->connections) connection->retire();
  retired_.push_back(std::move(served));
  postRound();
}

/// Drops a bit of what has retired. False: there's nothing.
bool Engine::dismantleOne() {
  if (retired_.empty()) return false;
  Served& served = *retired_.front();
  if (!served.connections.empty())
    drop(*served.connections.back());
  else if (!served.table.dismantle())
    retired_.pop_front();
  return true;
}

void Engine::setNotice(uint32_t id, uint32_t notice) {
  const auto found = served_.find(id);
  if (found == served_.end()) return;
  Served& served = *found->second;
  served.notice = notice;
  if (served.mirror) served.mirror->writer().setNotice(notice);
}

void Engine::watchRefusals(std::vector<pid_t> pids) {
  refusals_.reset();
  if (pids.empty() || !options_.onRefused) return;
  // A hint only: where the kernel doesn't tell, there's none.
  auto watch = RefusalWatch::create(*loop_, std::move(pids), options_.onRefused);
  if (watch) refusals_ = *std::move(watch);
}

Result<Mirror*> Engine::mirrorOf(Served& served) {
  if (!served.mirror) {
    const auto& options = options_.sharedMemory;
    auto mirror = Mirror::create({options.bytes, options.sealFutureWrite});
    if (!mirror) return mirror.error();
    served.mirror = *std::move(mirror);
    served.mirror->writer().setNotice(served.notice);
    served.table.observe(*served.mirror);
  }
  return served.mirror.get();
}

void Engine::admit(Served& served, std::unique_ptr<Connection> connection) {
  const auto watched = connection->watch();
  if (!watched) {
    served.board->accepted += 1;
    return;  // the kernel's limit of watches; the client sees a closed connection
  }
  keep(served, std::move(connection));
}

void Engine::keep(Served& served, std::unique_ptr<Connection> connection) {
  served.board->accepted += 1;
  connection->place = served.connections.size();
  served.connections.push_back(std::move(connection));
  served.board->clients = served.connections.size();
}

void Engine::drop(Connection& connection) {
  // Out of the list before it's destroyed, which may send to others, but drops none.
  takeOut(connection).reset();
}

void Engine::hand(Connection& connection, Served& to) {
  auto handed = takeOut(connection);
  handed->serveAt(to);
  keep(to, std::move(handed));
}

std::unique_ptr<Connection> Engine::takeOut(Connection& connection) {
  Served& served = connection.served();
  auto& connections = served.connections;
  const size_t place = connection.place;
  auto gone = std::move(connections[place]);
  if (place + 1 < connections.size()) {
    connections[place] = std::move(connections.back());
    connections[place]->place = place;
  }
  connections.pop_back();
  served.board->clients = connections.size();
  return gone;
}

void Engine::runSoon(Connection& connection) {
  connection.turn = queue_.insert(queue_.end(), &connection);
  postRound();
}

void Engine::cancelTurn(Connection& connection) {
  if (connection.turn) queue_.erase(*std::exchange(connection.turn, std::nullopt));
}

bool Engine::hasWork() const {
  if (!shared_.garbage.isEmpty() || !retired_.empty()) return true;
  for (const auto& [id, served] : served_) {
    if (served->hasWork()) return true;
  }
  return false;
}

void Engine::postRound() {
  if (std::exchange(roundPosted_, true)) return;
  loop_->post([this] { runRound(); });
}

/// Between two rounds everybody's events are looked at.
void Engine::runRound() {
  roundPosted_ = false;
  const TimePoint begun = loop_->now();
  workUntil(begun + kWork);
  // Only those in line by now: whoever gets in line again is asked for at the next round.
  for (size_t left = queue_.size(); left > 0 && !queue_.empty(); left--) {
    Connection& connection = *queue_.front();
    cancelTurn(connection);
    connection.onTurn();
    if (loop_->now() - begun >= kRound) break;
  }
  if (!queue_.empty() || hasWork()) postRound();
}

/// Whom changes have released comes first, then memory.
void Engine::workUntil(TimePoint until) {
  for (bool more = true; more;) {
    more = false;
    for (const auto& [id, served] : served_) {
      if (!served->table.hasWork()) continue;
      more = served->tcpStore->advance(kLooksPerStep) || more;
      if (loop_->now() >= until) return;
    }
  }
  while (tidyOne() && loop_->now() < until) continue;
}

/// False: there's nothing to tidy up.
bool Engine::tidyOne() {
  if (shared_.garbage.freeSome()) return true;
  for (const auto& [id, served] : served_) {
    if (served->table.freeSome()) return true;
  }
  return dismantleOne();
}

void Engine::noteHolder(Connection& connection, bool holds) {
  auto& holder = connection.holder;
  if (holds && holder)
    holders_.splice(holders_.end(), holders_, *holder);
  else if (holds)
    holder = holders_.insert(holders_.end(), &connection);
  else if (holder)
    holders_.erase(*std::exchange(holder, std::nullopt));
}

void Engine::makeRoom() {
  while (shared_.held > options_.heldBytes && !holders_.empty()) {
    Connection& idlest = *holders_.front();
    noteHolder(idlest, false);
    idlest.giveUp("the server holds too much, bytes: " + std::to_string(shared_.held) +
                  ", max: " + std::to_string(options_.heldBytes));
  }
}

void Engine::log(const std::string& line) {
  if (!options_.onLog) return;
  const TimePoint now = loop_->now();
  if (now - logWindow_ >= std::chrono::seconds(1)) {
    logWindow_ = now;
    logged_ = 0;
  }
  if (logged_ == kLogBurst) {
    unlogged_++;
    return;
  }
  logged_++;
  const int unlogged = std::exchange(unlogged_, 0);
  options_.onLog(unlogged == 0 ? line : line + " (and " + std::to_string(unlogged) + " unlogged)");
}

}  // namespace regroup::store
