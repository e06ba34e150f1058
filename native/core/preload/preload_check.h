#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "core/base/fd.h"
#include "core/base/thread.h"
#include "core/preload/interpreter.h"

namespace regroup {

/// Looks at a program's file, and whether the libraries for it can be read: see interpreter.h.
/// Whoever calls it may hang with the file's disk.
Preload checkPreload(const std::string& program, const std::vector<std::string>& libraries);

/// The same on a thread of its own, once for a program that's started again and again.
///
/// Owner: the supervisor. Thread: its owner's.
class PreloadCheck {
 public:
  explicit PreloadCheck(std::vector<std::string> libraries) : libraries_(std::move(libraries)) {}
  ~PreloadCheck();

  /// Begins to look, unless the program is that of last time. A look that hangs is left behind.
  /// @param candidates where the program may be, in the order of execvp
  void begin(std::vector<std::string> candidates);
  /// The answer for the last one; Unread while there's none, for which it waits `atMost`.
  Preload answer(std::chrono::milliseconds atMost);

 private:
  /// What the two threads share.
  struct Look {
    std::vector<std::string> candidates;
    Fd done;  // eventfd
    std::atomic<Preload> answer{Preload::Unread};
  };

  void leave();

  const std::vector<std::string> libraries_;
  std::shared_ptr<Look> look_;  // null: none was begun, or it couldn't be
  Thread thread_;
};

}  // namespace regroup
