#include "core/cgroup/pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <utility>

#include "core/base/fd.h"
#include "core/base/syscall.h"
#include "core/base/thread.h"

namespace regroup {

struct PressureWatch::State {
  std::vector<std::string> paths;
  std::string trigger;
  std::function<void()> onPressure;
  Fd end;  // eventfd: readable once nobody listens any more
};

namespace {

/// Nothing where the kernel, the file or a filter doesn't offer it.
std::vector<Fd> triggersAt(const std::vector<std::string>& paths, const std::string& trigger) {
  std::vector<Fd> triggers;
  for (const std::string& path : paths) {
    auto file = openFile(path.c_str(), O_RDWR | O_NONBLOCK);
    if (!file) continue;
    // With its NUL, as the kernel's own example has it.
    if (::write(file->get(), trigger.c_str(), trigger.size() + 1) < 0) continue;
    triggers.push_back(*std::move(file));
  }
  return triggers;
}

/// Until nobody listens, or there's nothing to listen to.
void watch(const std::vector<std::string>& paths, const std::string& trigger,
           const std::function<void()>& onPressure, const Fd& end) {
  const std::vector<Fd> triggers = triggersAt(paths, trigger);
  std::vector<pollfd> watched{{end.get(), POLLIN, 0}};
  for (const Fd& each : triggers) watched.push_back({each.get(), POLLPRI, 0});
  while (watched.size() > 1) {
    if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) return;
    if (watched.front().revents != 0) return;
    bool isTold = false;
    for (const pollfd& each : watched) isTold |= (each.revents & POLLPRI) != 0;
    // A cgroup that was removed tells nothing any more.
    std::erase_if(watched, [](const pollfd& each) { return (each.revents & POLLERR) != 0; });
    if (isTold) onPressure();
  }
}

}  // namespace

Result<std::unique_ptr<PressureWatch>> PressureWatch::start(std::vector<std::string> paths,
                                                            std::string trigger,
                                                            std::function<void()> onPressure) {
  auto end = makeEventFd();
  if (!end) return end.error();
  auto state = std::make_shared<State>(
      State{std::move(paths), std::move(trigger), std::move(onPressure), *std::move(end)});
  auto thread = Thread::start(
      [state] { watch(state->paths, state->trigger, state->onPressure, state->end); });
  if (!thread) return thread.error();
  thread->leave();
  return std::unique_ptr<PressureWatch>(new PressureWatch(std::move(state)));
}

PressureWatch::~PressureWatch() {
  signalEvent(state_->end);
}

}  // namespace regroup
