#pragma once

#include <signal.h>
#include <sys/wait.h>

#include <string>
#include <utility>
#include <vector>

#include "core/process/strays.h"
#include "test/native/support.h"

namespace support {

enum class Session { Ours, Own };

/// Starts a process of nobody's that has a cookie; it says that it's ready, to `out`, and doesn't
/// end.
///
/// @param more of its environment
inline pid_t startBystander(const std::string& cookie, const Fd& out,
                            Session session = Session::Ours, std::vector<std::string> more = {}) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  if (session == Session::Own) ::setsid();
  ::dup2(out.get(), 1);
  more.push_back(std::string(kCookieName) + "=" + cookie);
  std::vector<char*> entries;
  for (std::string& entry : more) entries.push_back(entry.data());
  entries.push_back(nullptr);
  char* const arguments[] = {const_cast<char*>("fixture"), const_cast<char*>("block"), nullptr};
  ::execve(REGROUP_FIXTURE, arguments, entries.data());
  ::_exit(1);
}

/// Such a process, from when it's ready until the test ends.
class Bystander {
 public:
  explicit Bystander(const std::string& cookie, Session session = Session::Own,
                     std::vector<std::string> more = {}) {
    auto ready = makePipe();
    pid_ = startBystander(cookie, ready->write, session, std::move(more));
    ready->write.reset();
    (void)LineReader(std::move(ready->read)).line();
  }
  ~Bystander() {
    (void)::kill(pid_, SIGKILL);
    (void)::waitpid(pid_, nullptr, 0);
  }
  Bystander(const Bystander&) = delete;
  Bystander& operator=(const Bystander&) = delete;
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
};

}  // namespace support
