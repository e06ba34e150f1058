#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/loop.h"

namespace regroup {

/// What may be done with those whom workers leave behind.
struct TidyUp {
  /// From the last worker's end to SIGKILL, where not all have ended well.
  std::chrono::milliseconds grace{500};
  /// Whoever is in a session of its own, and holds no GPU, lives on.
  bool leaveDetached = false;
  /// Commands, of 15 bytes at most, that need seconds to end by themselves, and hold nothing that
  /// another round needs: it doesn't wait for them.
  std::vector<std::string> lingering;
  /// The folder of GPUs' files, without links in its path.
  std::string devices = "/dev";
};

/// A process, for people.
struct NamedProcess {
  pid_t pid;
  std::string command;
};

/// When a process that a group has left behind gets which signal. Pure: no clock, no process.
///
/// Tidying up belongs to the process itself. What a worker leaves (Python's resource tracker, a
/// fork server, an uploader) sees its end and ends, too, within milliseconds where the machine
/// isn't busy; a signal would keep it from writing or unlinking what it holds. So whoever has just
/// lost its parent is left alone for a moment, also where SIGKILL is due.
///
/// @source CPython 3.11, Lib/multiprocessing/resource_tracker.py, main: it ignores SIGINT and
/// SIGTERM, and ends
///   with its pipe; popen_spawn_posix.py and forkserver.py hold the other ends
namespace tidy {

/// Measured from a worker's SIGKILL to its resource tracker's end: 10 ms, and 150 ms with ten
/// programs on two cores; such a one is seen to be busy.
constexpr std::chrono::milliseconds kQuiet{100};
/// When it's looked at first, to tell later whether it has run since; one that hasn't for kIdle
/// waits.
constexpr std::chrono::milliseconds kFirstLook{50};
constexpr std::chrono::milliseconds kIdle{50};
/// Between two looks at one that's busy.
constexpr std::chrono::milliseconds kBusyPause{20};

/// What holds for all of them.
struct Plan {
  bool terms = true;           // false: they have had their signal with their worker
  bool loadersAtOnce = false;  // another round waits
  TimePoint busyUntil;         // so long one that's busy isn't disturbed
  TimePoint killAt;
  /// From then on nobody is left alone.
  TimePoint killAllAt() const { return killAt + kQuiet; }
};

/// What's known of one.
struct Left {
  bool isLoader = false;
  std::optional<TimePoint> orphanedAt;  // since when its parent is none of those that are left
  bool isBusy = false;  // it runs, has just run, or waits for the disk, and not for somebody
  bool wasTermed = false;
};

enum class Order : uint8_t { Nothing, Term, Kill };
struct Decision {
  Order order = Order::Nothing;
  TimePoint again;  // when it's to be decided anew, unless somebody ends before
};

Decision decide(const Left& left, const Plan& plan, TimePoint now);

}  // namespace tidy

}  // namespace regroup
