#include "core/store/server.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>

#include <atomic>
#include <utility>

#include "core/base/fd.h"
#include "core/base/loop.h"
#include "core/store/bind.h"
#include "core/store/engine.h"
#include "core/store/lane_listener.h"

namespace regroup::store {

namespace {

/// While we look again and again on the only CPU, nobody could send us anything.
bool hasSeveralCpus() {
  cpu_set_t cpus;
  // EINVAL: more than the mask holds.
  return ::sched_getaffinity(0, sizeof cpus, &cpus) < 0 || CPU_COUNT(&cpus) > 1;
}

}  // namespace

Result<std::unique_ptr<StoreServer>> StoreServer::create(ServerOptions options) {
  auto loop = Loop::create();
  if (!loop) return loop.error();
  if (hasSeveralCpus()) (*loop)->lingerFor(options.linger);
  Fd spare(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!spare) return Error{"open", errno};
  auto engine = std::make_unique<Engine>(std::move(*loop), std::move(options), std::move(spare));
  auto thread = Thread::start([loop = &engine->loop()] {
    (void)::prctl(PR_SET_NAME, "regroup-store");
    loop->run();
  });
  if (!thread) return thread.error();
  return std::unique_ptr<StoreServer>(new StoreServer(std::move(engine), *std::move(thread)));
}

StoreServer::StoreServer(std::unique_ptr<Engine> engine, Thread thread)
    : engine_(std::move(engine)), thread_(std::move(thread)) {}

StoreServer::~StoreServer() {
  close();
}

/// Runs `task` on the store thread, and waits for it. False: closed.
bool StoreServer::call(const std::function<void()>& task) {
  if (!engine_) return false;
  const auto done = std::make_shared<std::atomic<int>>(0);
  engine_->loop().post([&task, done] {
    task();
    done->store(1, std::memory_order_release);
    done->notify_one();
  });
  done->wait(0, std::memory_order_acquire);
  return true;
}

Result<TableAddress> StoreServer::openTable(std::span<const std::string> hosts, uint16_t port) {
  const std::lock_guard lock(callMutex_);
  if (!engine_) return Error{"listen", EBADF};
  auto bound = listenAtAll(hosts, port, engine_->options().stall);
  if (!bound) return bound.error();
  return serve(*std::move(bound));
}

Result<TableAddress> StoreServer::adoptTable(int fd, uint16_t port) {
  const std::lock_guard lock(callMutex_);
  if (!engine_) return Error{"listen", EBADF};
  auto bound = adoptListener(fd, port, engine_->options().stall);
  if (!bound) return bound.error();
  return serve(*std::move(bound));
}

Result<TableAddress> StoreServer::serve(Bound bound) {
  LocalSocket local;
  if (engine_->options().sharedMemory.offered) {
    // Fallback: a filter forbids Unix sockets. TCP does all that they do.
    if (auto listening = listenLocally()) local = *std::move(listening);
  }

  TableAddress address{nextTable_++, bound.port, local.name};
  Result<void> opened;
  call([&] { opened = engine_->open(address.table, std::move(bound.fds), std::move(local.fd)); });
  if (!opened) return opened.error();
  return address;
}

void StoreServer::resetTable(uint32_t table) {
  const std::lock_guard lock(callMutex_);
  call([&] { engine_->reset(table); });
}

void StoreServer::closeTable(uint32_t table) {
  const std::lock_guard lock(callMutex_);
  call([&] { engine_->close(table); });
}

TableStats StoreServer::stats(uint32_t table) {
  const std::lock_guard lock(callMutex_);
  TableStats stats;
  call([&] { stats = engine_->stats(table); });
  return stats;
}

std::vector<SlotView> StoreServer::slots(uint32_t table) {
  const std::lock_guard lock(callMutex_);
  std::vector<SlotView> slots;
  call([&] { slots = engine_->slots(table); });
  return slots;
}

void StoreServer::setNotice(uint32_t table, uint32_t notice) {
  const std::lock_guard lock(callMutex_);
  call([&] { engine_->setNotice(table, notice); });
}

void StoreServer::close() {
  const std::lock_guard lock(callMutex_);
  if (!engine_) return;
  engine_->loop().stop();
  thread_.join();
  engine_.reset();
}

}  // namespace regroup::store
