// The worker of the native tests: one static program, its first argument says what it does.
// Each mode that waits says "ready PID" first, and lets go of its stdout only by dying.
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

static void say(const std::string& line) {
  const std::string whole = line + "\n";
  (void)!::write(1, whole.data(), whole.size());
}

static void ready() {
  say("ready " + std::to_string(::getpid()));
}

static void waitForEver() {
  while (true) ::pause();
}

/// As get_mempolicy(2) gives them: libnuma isn't static everywhere.
static void printMemoryPolicy() {
  int mode = -1;
  unsigned long nodes[16] = {};
  ::syscall(SYS_get_mempolicy, &mode, nodes, sizeof nodes * 8, nullptr, 0);
  std::string list;
  for (unsigned node = 0; node < sizeof nodes * 8; node++) {
    if (nodes[node / 64] >> node % 64 & 1) list += (list.empty() ? "" : ",") + std::to_string(node);
  }
  say("memory policy " + std::to_string(mode) + " nodes " + list);
}

static void printStatus() {
  DIR* folder = ::opendir("/proc/self/fd");
  std::string fds;
  while (const dirent* entry = ::readdir(folder)) {
    if (entry->d_name[0] != '.' && ::atoi(entry->d_name) != ::dirfd(folder))
      fds += std::string(fds.empty() ? "" : ",") + entry->d_name;
  }
  ::closedir(folder);
  say("fds " + fds);

  FILE* status = ::fopen("/proc/self/status", "r");
  char line[512];
  while (::fgets(line, sizeof line, status) != nullptr) {
    line[strcspn(line, "\n")] = '\0';
    for (const char* field : {"SigBlk:", "SigIgn:", "Cpus_allowed_list:"})
      if (::strncmp(line, field, ::strlen(field)) == 0) say(line);
  }
  ::fclose(status);

  const pid_t self = ::getpid();
  say("session " + std::string(::getsid(0) == self && ::getpgrp() == self ? "own" : "shared"));
  rlimit nofile;
  ::getrlimit(RLIMIT_NOFILE, &nofile);
  say("nofile " + std::to_string(nofile.rlim_cur));
  char cwd[4096];
  say("cwd " + std::string(::getcwd(cwd, sizeof cwd) != nullptr ? cwd : "?"));
  for (int fd = 0; fd < 3; fd++) {
    const int flags = ::fcntl(fd, F_GETFL);
    say("fd " + std::to_string(fd) + " " +
        (flags < 0            ? "closed"
         : flags & O_NONBLOCK ? "nonblocking"
                              : "blocking"));
  }
  int deathSignal = 0;
  ::prctl(PR_GET_PDEATHSIG, &deathSignal);
  say("death signal " + std::to_string(deathSignal));
  printMemoryPolicy();
}

static std::string limitText(rlim_t value) {
  return value == RLIM_INFINITY ? "unlimited" : std::to_string(value);
}

static void printLimits() {
  for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
    rlimit limit{};
    ::getrlimit(static_cast<__rlimit_resource_t>(resource), &limit);
    say("rlimit " + std::to_string(resource) + " " + limitText(limit.rlim_cur) + " " +
        limitText(limit.rlim_max));
  }
  say("nice " + std::to_string(::getpriority(PRIO_PROCESS, 0)));
  say("ioprio " + std::to_string(::syscall(SYS_ioprio_get, 1, 0)));
  const mode_t mask = ::umask(0);
  say("umask " + std::to_string(mask));
  char score[32] = {};
  const int fd = ::open("/proc/self/oom_score_adj", O_RDONLY);
  (void)!::read(fd, score, sizeof score - 1);
  score[strcspn(score, "\n")] = '\0';
  say(std::string("oom_score_adj ") + score);
}

/// A child of the same process group that ignores SIGTERM.
static void leaveStubbornChild() {
  int ready_[2];
  (void)!::pipe(ready_);
  if (::fork() == 0) {
    ::signal(SIGTERM, SIG_IGN);
    say("child " + std::to_string(::getpid()));
    ::close(ready_[0]);
    ::close(ready_[1]);
    waitForEver();
  }
  ::close(ready_[1]);
  char byte;
  (void)!::read(ready_[0], &byte, 1);
}

/// Forks a child that tells that it's ready by the end of a pipe, which its program's start closes
/// as well.
template <typename Body>
static void forkAndWait(Body body) {
  int told[2];
  (void)!::pipe2(told, O_CLOEXEC);
  if (::fork() == 0) {
    ::close(told[0]);
    body(told[1]);
    ::_exit(1);
  }
  ::close(told[1]);
  char byte;
  (void)!::read(told[0], &byte, 1);
  ::close(told[0]);
}

/// A program of its own that sees our end by that of a pipe, has something to write then, and ends:
/// like Python's resource tracker, or an uploader.
static void leaveTidier(char* self, bool ownSession, const char* naps) {
  int ends[2];
  (void)!::pipe(ends);
  forkAndWait([&](int) {
    if (ownSession) ::setsid();
    ::close(ends[1]);
    std::string fd = std::to_string(ends[0]);
    char* const args[] = {self, const_cast<char*>("tidier"), fd.data(), const_cast<char*>(naps),
                          nullptr};
    ::execv("/proc/self/exe", args);
  });
  ::close(ends[0]);
}

/// Asleep most of the time.
static void tidy(int fd, int naps) {
  ::signal(SIGTERM, SIG_DFL);
  say("tidier " + std::to_string(::getpid()));
  char byte;
  (void)!::read(fd, &byte, 1);
  const timespec nap{0, 10'000'000};
  for (int i = 0; i < naps; i++) ::nanosleep(&nap, nullptr);
  say("tidied " + std::to_string(::getpid()));
}

/// A fork that waits for its worker, and says when it's told to end.
static void leaveLoader() {
  forkAndWait([](int told) {
    ::signal(SIGTERM, [](int) {
      say("termed " + std::to_string(::getpid()));
      ::_exit(0);
    });
    say("loader " + std::to_string(::getpid()));
    ::close(told);
    waitForEver();
  });
}

/// A daemon whose first thread has ended.
static void leaveHeadlessDaemon() {
  forkAndWait([](int told) {
    ::setsid();
    if (::fork() != 0) ::_exit(0);
    static int ready = told;
    pthread_t thread;
    ::pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
          // Once the first one has ended.
          std::string state;
          while (state.find("State:\tZ") == std::string::npos) {
            char text[4096] = {};
            const int fd = ::open("/proc/self/status", O_RDONLY);
            (void)!::read(fd, text, sizeof text - 1);
            ::close(fd);
            state = text;
          }
          say("daemon " + std::to_string(::getpid()));
          ::close(ready);
          waitForEver();
          return nullptr;
        },
        nullptr);
    ::pthread_exit(nullptr);
  });
}

/// A daemon of its own program that asks to be left alone.
static void leaveAskingDaemon(char* self) {
  forkAndWait([&](int) {
    ::setsid();
    if (::fork() != 0) ::_exit(0);
    ::setenv("REGROUP_LEAVE", "1", 1);
    char* const args[] = {self, const_cast<char*>("block"), nullptr};
    ::execv("/proc/self/exe", args);
  });
}

/// Of a standby, as lib/preload/standby.ts has it: a length, and one field.
static void tell(const std::string& type) {
  const auto sized = [](const std::string& text) {
    const auto length = static_cast<unsigned>(text.size());
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
  };
  const std::string message = sized(sized("type") + sized(type));
  // Whoever is stopped before it has answered finds nobody there.
  (void)::send(3, message.data(), message.size(), MSG_NOSIGNAL);
}

/// Reads a message. @returns the descriptors that rode on it
static std::string hear(int (&fds)[3], int& count) {
  unsigned length = 0;
  alignas(cmsghdr) char control[256];
  iovec part{&length, sizeof length};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  if (::recvmsg(3, &header, MSG_WAITALL) != sizeof length) ::_exit(0);
  count = 0;
  if (const cmsghdr* const rights = CMSG_FIRSTHDR(&header)) {
    count = static_cast<int>((rights->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    ::memcpy(fds, CMSG_DATA(rights), static_cast<size_t>(count) * sizeof(int));
  }
  std::string body(length, '\0');
  for (size_t got = 0; got < length;) {
    const ssize_t n = ::read(3, body.data() + got, length - got);
    if (n <= 0) ::_exit(0);
    got += static_cast<size_t>(n);
  }
  return body;
}

/// Waits for its order, and takes the streams that come with it. @returns what the order says
static std::string standBy(const std::string& how) {
  int fds[3];
  int count = 0;
  const std::string words = hear(fds, count);
  if (how == "fork") {  // by its end, or by a limit
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    if (child > 0) (void)::waitpid(child, nullptr, 0);
  }
  if (how == "never") waitForEver();
  if (how == "late" || how == "late-refuse") {
    pollfd order{3, POLLIN, 0};
    (void)::poll(&order, 1, -1);
  }
  tell("parked " + words);
  if (how == "chatter") {
    tell("parked again");
    waitForEver();
  }
  if (how == "close") {
    ::close(3);
    waitForEver();
  }
  const std::string order = hear(fds, count);
  if (how == "die") ::_exit(7);
  if (how == "mute") waitForEver();
  if (how == "refuse" || how == "late-refuse") {
    tell("refused");
    ::_exit(0);
  }
  for (int i = 0; i < count; i++) {
    ::dup2(fds[i], i + 3 - count);
    ::close(fds[i]);
  }
  tell("started");
  ::close(3);
  return order;
}

int main(int argc, char** argv, char** environ) {
  std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "standby") {  // until its order, which is the mode
    mode = standBy(argv[2]);
    if (mode.size() > 100) return say("order " + std::to_string(mode.size())), 0;
  }
  const int number = argc > 2 ? ::atoi(argv[2]) : 0;

  if (mode == "exit") return number;
  if (mode == "die") {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    ::raise(number);
  }
  if (mode == "status") return printStatus(), 0;
  if (mode == "limits") return printLimits(), 0;
  if (mode == "env") {
    for (char** entry = environ; *entry != nullptr; entry++) say(*entry);
    return 0;
  }
  if (mode == "echo") return say(argv[2]), 0;
  if (mode == "block") ready(), waitForEver();
  if (mode == "traceable") {  // by anyone, where Yama asks for leave
    ::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    ready(), waitForEver();
  }
  if (mode == "read") {  // ends when its stdin does
    ready();
    char byte;
    while (::read(0, &byte, 1) > 0) continue;
    return 0;
  }
  if (mode == "ignore-term") ::signal(SIGTERM, SIG_IGN), ready(), waitForEver();
  if (mode == "exit-on-term") {
    ::signal(SIGTERM, [](int) { ::_exit(43); });
    ready(), waitForEver();
  }
  if (mode == "save-on-term") {  // outlives a shell that the same signal ends
    static const pid_t shell = ::getppid();
    ::signal(SIGTERM, [](int) {
      // Init's, or a subreaper's, once the shell is gone.
      while (::getppid() == shell) ::sched_yield();
      say("saved " + std::to_string(::getpid()));
      ::_exit(0);
    });
    ready(), waitForEver();
  }
  if (mode == "stopped") {  // its TERM handler runs only once it was continued
    ::signal(SIGTERM, [](int) { ::_exit(44); });
    // Told by a child, since we can't say that we're stopped.
    if (::fork() == 0) {
      std::string path = "/proc/" + std::to_string(::getppid()) + "/stat";
      char state = '?';
      while (state != 'T') {
        FILE* stat = ::fopen(path.c_str(), "r");
        char text[512] = {};
        (void)!::fread(text, 1, sizeof text - 1, stat);
        ::fclose(stat);
        const char* end = ::strrchr(text, ')');
        state = end != nullptr ? end[2] : '?';
      }
      ready();
      ::_exit(0);
    }
    ::raise(SIGSTOP);
    waitForEver();
  }
  if (mode == "leave-child") {  // and exit at once, with a code
    leaveStubbornChild();
    return number;
  }
  if (mode == "leave-child-on-term") {
    ::signal(SIGTERM, [](int) { ::_exit(0); });
    leaveStubbornChild();
    ready(), waitForEver();
  }
  if (mode == "daemon" || mode == "stubborn-daemon") {  // double-forked, own session; we exit
    int told[2];
    (void)!::pipe(told);
    if (::fork() == 0) {
      ::setsid();
      if (::fork() != 0) ::_exit(0);
      if (mode == "stubborn-daemon") ::signal(SIGTERM, SIG_IGN);
      say("daemon " + std::to_string(::getpid()));
      ::close(told[0]);
      ::close(told[1]);
      waitForEver();
    }
    ::close(told[1]);
    char byte;
    (void)!::read(told[0], &byte, 1);
    return number;
  }
  if (mode == "bare-child") {  // a child without any environment, in our process group
    int told[2];
    (void)!::pipe2(told, O_CLOEXEC);
    if (::fork() == 0) {
      char* const args[] = {argv[0], const_cast<char*>("block"), nullptr};
      char* const none[] = {nullptr};
      ::execve("/proc/self/exe", args, none);
      ::_exit(1);
    }
    ::close(told[1]);
    char byte;
    (void)!::read(told[0], &byte, 1);
    return number;
  }
  if (mode ==
      "bare-daemon") {  // own session and no environment: nothing tells whose it is; N: we exit
    int told[2];
    (void)!::pipe2(told, O_CLOEXEC);
    if (::fork() == 0) {
      ::setsid();
      if (::fork() != 0) ::_exit(0);
      char* const args[] = {argv[0], const_cast<char*>("block"), nullptr};
      char* const none[] = {nullptr};
      ::execve("/proc/self/exe", args, none);
      ::_exit(1);
    }
    ::close(told[1]);
    char byte;
    (void)!::read(told[0], &byte, 1);
    return number;
  }
  if (mode == "tidier") return tidy(number, ::atoi(argv[3])), 0;
  // These end with a code, or, without one, wait.
  if (mode == "leave-tidier" || mode == "leave-detached-tidier" || mode == "leave-slow-tidier" ||
      mode == "leave-loader") {
    if (mode == "leave-loader")
      leaveLoader();
    else
      leaveTidier(argv[0], mode == "leave-detached-tidier",
                  mode == "leave-slow-tidier" ? "40" : "3");
    if (argc > 2) return number;
    ready(), waitForEver();
  }
  if (mode == "headless-daemon") return leaveHeadlessDaemon(), number;
  if (mode == "asking-daemon") return leaveAskingDaemon(argv[0]), number;
  if (mode == "leader-thread-ends") {  // the process lives on, and then exits with a code
    pthread_t thread;
    ::pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
          ready();
          char byte;
          while (::read(0, &byte, 1) > 0) continue;
          ::exit(45);
        },
        nullptr);
    ::pthread_exit(nullptr);
  }
  return 99;
}
