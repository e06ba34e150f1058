#include "core/store/server.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>

#include <utility>

#include "core/base/fd.h"
#include "core/base/loop.h"
#include "core/store/bind.h"
#include "core/store/board.h"
#include "core/store/engine.h"
#include "core/store/lane_listener.h"
#include "core/store/occasion.h"

namespace regroup::store {

namespace {

/// While we look again and again on the only CPU, nobody could send us anything.
bool hasSeveralCpus() {
  cpu_set_t cpus;
  // EINVAL: more than the mask holds.
  return ::sched_getaffinity(0, sizeof cpus, &cpus) < 0 || CPU_COUNT(&cpus) > 1;
}

}  // namespace

/// What the store's thread shares with those who call. The engine is its own; others only post.
struct StoreServer::Shared {
  ServerOptions options;
  std::unique_ptr<Engine> engine;  // null once the thread has ended
  Occasion ended;                  // its service: the ports are free
};

Result<std::unique_ptr<StoreServer>> StoreServer::create(ServerOptions options) {
  auto loop = Loop::create();
  if (!loop) return loop.error();
  if (hasSeveralCpus()) (*loop)->lingerFor(options.linger);
  Fd spare(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!spare) return Error{"open", errno};
  auto shared = std::make_shared<Shared>();
  shared->options = options;
  shared->engine = std::make_unique<Engine>(std::move(*loop), std::move(options), std::move(spare));
  auto thread = Thread::start([shared] {
    (void)::prctl(PR_SET_NAME, "regroup-store");
    shared->engine->loop().run();
    shared->engine->endService();
    shared->ended.tell();
    shared->engine.reset();
  });
  if (!thread) return thread.error();
  return std::unique_ptr<StoreServer>(new StoreServer(std::move(shared), *std::move(thread)));
}

StoreServer::StoreServer(std::shared_ptr<Shared> shared, Thread thread)
    : shared_(std::move(shared)), thread_(std::move(thread)) {}

StoreServer::~StoreServer() {
  close();
  thread_.join();
}

/// Has `task` run on the store's thread. After close() it's destroyed unrun.
void StoreServer::post(std::function<void(Engine&)> task) {
  const std::lock_guard lock(callMutex_);
  // As long as it isn't closed, the engine is there.
  if (closed_) return;
  Engine& engine = *shared_->engine;
  engine.loop().post([&engine, task = std::move(task)] { task(engine); });
}

/// The same, and waits for it, but not for ever. False: it hasn't been run by now.
bool StoreServer::call(std::function<void(Engine&)> task) {
  // Tells also if the task is destroyed unrun.
  struct Teller {
    std::shared_ptr<Occasion> occasion = std::make_shared<Occasion>();
    ~Teller() { occasion->tell(); }
  };
  auto teller = std::make_shared<Teller>();
  const auto done = teller->occasion;
  post([task = std::move(task), teller = std::move(teller)](Engine& engine) { task(engine); });
  return done->wait(kPatience);
}

Result<TableAddress> StoreServer::openTable(std::span<const std::string> hosts, uint16_t port,
                                            std::vector<ProtocolFactory> protocols) {
  if (hosts.empty()) return serve({{}, 0}, std::move(protocols));
  auto bound = listenAtAll(hosts, port, shared_->options.stall);
  // A table that was closed has its port until the thread gets there.
  if (!bound && bound.error().code == EADDRINUSE && call([](Engine&) {}))
    bound = listenAtAll(hosts, port, shared_->options.stall);
  if (!bound) return bound.error();
  return serve(*std::move(bound), std::move(protocols));
}

Result<TableAddress> StoreServer::adoptTable(int fd, uint16_t port,
                                             std::vector<ProtocolFactory> protocols) {
  auto bound = adoptListener(fd, port, shared_->options.stall);
  if (!bound) return bound.error();
  auto own = ownAddressOf(bound->fds.front());
  if (!own) return own.error();
  auto address = serve(*std::move(bound), std::move(protocols));
  if (address) address->host = PeerName(*own).hostText();
  return address;
}

Result<TableAddress> StoreServer::borrowPort(uint32_t lender) {
  Bound bound{{}, 0};
  {
    const std::lock_guard lock(callMutex_);
    const auto found = tables_.find(lender);
    if (found == tables_.end()) return Error{"bind", EBADF};
    bound.port = found->second.port;
  }
  return serve(std::move(bound), {}, lender);
}

Result<TableAddress> StoreServer::serve(Bound bound, std::vector<ProtocolFactory> protocols,
                                        uint32_t lender) {
  LocalSocket local;
  if (shared_->options.sharedMemory.offered) {
    // Fallback: a filter forbids Unix sockets. TCP does all that they do.
    if (auto listening = listenLocally()) local = *std::move(listening);
  }
  if (bound.fds.empty() && !local.fd && lender == 0) return Error{"bind", EINVAL};

  const auto board = std::make_shared<Board>();
  TableAddress address{0, bound.port, local.name};
  {
    const std::lock_guard lock(callMutex_);
    if (closed_) return Error{"listen", EBADF};
    address.table = nextTable_++;
    tables_.emplace(address.table, Opened{board, bound.port});
  }
  struct Opening {
    Engine::Opening with;
    Result<void> opened;
  };
  // Of both threads: whoever waits may be gone when it's done.
  const auto opening = std::make_shared<Opening>(Opening{
      {std::move(bound.fds), std::move(local.fd), board, std::move(protocols), lender}, {}});
  // The sockets listen already. Who connects meanwhile is accepted when the thread gets there.
  const bool done = call([opening, id = address.table](Engine& engine) {
    opening->opened = engine.open(id, std::move(opening->with));
    if (!opening->opened)
      engine.log("can't serve: errno " + std::to_string(opening->opened.error().code));
  });
  if (done && !opening->opened) {
    const std::lock_guard lock(callMutex_);
    tables_.erase(address.table);
    return opening->opened.error();
  }
  // Who connects before the port is lent would be closed, as a client of an earlier table is.
  if (!done && lender != 0) {
    closeTable(address.table);
    return Error{"bind", ETIMEDOUT};
  }
  return address;
}

std::shared_ptr<Board> StoreServer::boardOf(uint32_t table) {
  const std::lock_guard lock(callMutex_);
  const auto found = tables_.find(table);
  return found == tables_.end() ? nullptr : found->second.board;
}

void StoreServer::resetTable(uint32_t table) {
  // Whoever connects when this has returned gets the new table.
  (void)call([table](Engine& engine) { engine.reset(table); });
}

void StoreServer::closeTable(uint32_t table) {
  {
    const std::lock_guard lock(callMutex_);
    tables_.erase(table);
  }
  post([table](Engine& engine) { engine.close(table); });
}

TableStats StoreServer::stats(uint32_t table) {
  const auto board = boardOf(table);
  return board ? board->stats() : TableStats{};
}

std::vector<SlotView> StoreServer::slots(uint32_t table) {
  const auto board = boardOf(table);
  return board ? board->slots() : std::vector<SlotView>();
}

void StoreServer::setNotice(uint32_t table, uint32_t notice) {
  // Waited for: the signal that follows it asks workers to look.
  (void)call([table, notice](Engine& engine) { engine.setNotice(table, notice); });
}

void StoreServer::watchRefusals(std::vector<pid_t> pids) {
  post([pids = std::move(pids)](Engine& engine) { engine.watchRefusals(pids); });
}

void StoreServer::close() {
  {
    const std::lock_guard lock(callMutex_);
    if (closed_) return;
    closed_ = true;
    shared_->engine->loop().stop();
    tables_.clear();
  }
  (void)shared_->ended.wait(kPatience);
}

}  // namespace regroup::store
