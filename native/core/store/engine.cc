#include "core/store/engine.h"

#include <utility>

#include "core/store/connection.h"
#include "core/store/lane_connection.h"
#include "core/store/lane_listener.h"

namespace regroup::store {

namespace {

/// Log lines a second; a port scanner could fill a disk otherwise.
constexpr int kLogBurst = 10;

}  // namespace

Served::Served(Engine& engine) : table(engine.options().table) {
  engine.makeProtocols(*this);
}

Served::~Served() = default;

Engine::Engine(std::unique_ptr<Loop> loop, ServerOptions options, Fd spare)
    : loop_(std::move(loop)), options_(std::move(options)) {
  shared_.spare = std::move(spare);
}

Engine::~Engine() = default;

void Engine::makeProtocols(Served& served) {
  for (const auto& factory : options_.protocols)
    served.protocols.push_back(factory(served.table, *loop_));
  auto tcpStore =
      std::make_unique<TcpStore>(served.table, options_.tcpStore, served.totals.slowest);
  served.tcpStore = tcpStore.get();
  served.protocols.push_back(std::move(tcpStore));
}

template <typename L>
Result<void> Engine::listen(Served& served, Fd fd) {
  auto listener = std::make_unique<L>(*this, served, std::move(fd));
  const auto watched = listener->watch();
  if (watched) served.listeners.push_back(std::move(listener));
  return watched;
}

Result<void> Engine::open(uint32_t id, std::vector<Fd> listeners, Fd local) {
  auto served = std::make_unique<Served>(*this);
  for (Fd& fd : listeners) {
    if (auto listening = listen<TcpListener>(*served, std::move(fd)); !listening)
      return listening.error();
  }
  if (local) {
    if (auto listening = listen<LaneListener>(*served, std::move(local)); !listening)
      return listening.error();
  }
  served_.emplace(id, std::move(served));
  return {};
}

void Engine::reset(uint32_t id) {
  const auto found = served_.find(id);
  if (found == served_.end()) return;
  Served& served = *found->second;
  served.connections.clear();
  // Those in the backlog were meant for the table that's gone.
  for (const auto& listener : served.listeners) listener->purge();
  served.protocols.clear();
  served.table.clear();
  // Its readers are told that it's closed; who comes next gets another one.
  served.mirror.reset();
  served.notice = 0;
  makeProtocols(served);
}

void Engine::close(uint32_t id) {
  served_.erase(id);
}

TableStats Engine::stats(uint32_t id) const {
  const auto found = served_.find(id);
  if (found == served_.end()) return {};
  const Served& served = *found->second;
  TableStats stats = served.totals;
  stats.clients = served.connections.size();
  stats.lanes = served.lanes.size();
  stats.keys = served.table.keys();
  stats.waiters = served.table.waiters();
  stats.bytes = served.table.bytes();
  stats.requests = served.table.requests();
  stats.hotKeys = served.table.hotKeys().top();
  stats.dialects = served.tcpStore->clients();
  for (const LaneConnection* lane : served.lanes)
    stats.highestStep =
        std::max(stats.highestStep, lane->slot().step.load(std::memory_order_relaxed));
  return stats;
}

std::vector<SlotView> Engine::slots(uint32_t id) const {
  const auto found = served_.find(id);
  if (found == served_.end()) return {};
  std::vector<SlotView> views;
  for (const LaneConnection* lane : found->second->lanes) {
    const shm::Slot& slot = lane->slot();
    const uint64_t beats = slot.beats.load(std::memory_order_acquire);
    if (beats == 0) continue;
    views.push_back({lane->pid(), slot.rank.load(std::memory_order_relaxed), beats,
                     slot.beatNs.load(std::memory_order_relaxed),
                     slot.step.load(std::memory_order_relaxed),
                     slot.phase.load(std::memory_order_relaxed)});
  }
  return views;
}

void Engine::setNotice(uint32_t id, uint32_t notice) {
  const auto found = served_.find(id);
  if (found == served_.end()) return;
  Served& served = *found->second;
  served.notice = notice;
  if (served.mirror) served.mirror->writer().setNotice(notice);
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
  served.totals.accepted++;
  const auto watched = connection->watch();
  if (!watched) return;  // the kernel's limit of watches; the client sees a closed connection
  connection->place = served.connections.size();
  served.connections.push_back(std::move(connection));
}

void Engine::drop(Connection& connection) {
  auto& connections = connection.served().connections;
  const size_t place = connection.place;
  // Out of the list before it's destroyed, which may send to others, but drops none.
  const auto gone = std::move(connections[place]);
  if (place + 1 < connections.size()) {
    connections[place] = std::move(connections.back());
    connections[place]->place = place;
  }
  connections.pop_back();
}

void Engine::runSoon(Connection& connection) {
  connection.turn = queue_.insert(queue_.end(), &connection);
  postQueue();
}

void Engine::cancelTurn(Connection& connection) {
  if (connection.turn) queue_.erase(*std::exchange(connection.turn, std::nullopt));
}

void Engine::postQueue() {
  if (queuePosted_ || queue_.empty()) return;
  queuePosted_ = true;
  loop_->post([this] { runQueued(); });
}

void Engine::runQueued() {
  queuePosted_ = false;
  // Only those queued by now: between two turns of one, everybody's events are looked at.
  for (size_t left = queue_.size(); left > 0 && !queue_.empty(); left--) {
    Connection& connection = *queue_.front();
    cancelTurn(connection);
    connection.onTurn();
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
