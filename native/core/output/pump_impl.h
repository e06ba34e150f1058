#pragma once

#include <array>
#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/fd.h"
#include "core/base/loop.h"
#include "core/base/thread.h"
#include "core/output/console.h"
#include "core/output/lines.h"
#include "core/output/pump.h"

namespace regroup {

/// Thread: pump, but for the parts that say otherwise.
class Pump::Impl {
 public:
  Impl(std::unique_ptr<Loop> loop, Options options);
  ~Impl();
  Result<void> startThread();

  Result<StreamId> add(Fd readEnd, StreamSinks sinks);  // Thread: any
  void finish(std::vector<StreamId> ids, std::chrono::milliseconds drain,
              std::function<void(std::vector<std::string>)> done);  // Thread: any

 private:
  /// Per turn and stream: a large pipe in one go, and no stream gets ahead by more.
  static constexpr size_t kReadBytes = 1024 * 1024;
  /// With prefixes; more than that is written in two.
  static constexpr size_t kOutBytes = 2 * kReadBytes;

  struct FileSink;
  struct Stream;
  struct Finish;
  struct Slot;

  // pump.cc
  static Result<std::unique_ptr<FileSink>> openSink(const std::string& path);
  void receive();
  void report(StreamId stream, std::string path, int code, uint64_t droppedLines);
  void reportConsole(Slot& slot);

  // pump_streams.cc
  void admit(std::unique_ptr<Stream> given);
  void readOnce(Stream& stream);
  void giveFile(Stream& stream, std::string_view bytes);
  void giveFiltered(Stream& stream, std::string_view bytes, bool last);
  void giveConsole(Stream& stream, std::string_view bytes);
  void dropLines(Stream& stream, std::string_view bytes, bool last);
  void writeFile(Stream& stream, FileSink& file, std::string_view bytes);
  void pause(Stream& stream);
  void resume(Slot& slot);
  void watch(Stream& stream);
  void expire(Stream& stream);
  void end(Stream& stream);
  bool endConsole(Stream& stream);
  bool drops(const Stream& stream) const;

  // pump_finish.cc
  void startFinish(std::unique_ptr<Finish> given);
  void settleSoon();
  void settle();
  bool settled(Finish& finish);
  bool consoleSettled(Finish& finish, Slot& slot, uint64_t mark);
  void hurry(Finish& finish);
  void complete(Finish& finish);
  void shutDown();

  const Options options_;
  std::unique_ptr<Loop> loop_;
  std::atomic<StreamId> nextId_{1};

  std::mutex inboxMutex_;
  std::vector<std::unique_ptr<Stream>> newStreams_;   // guarded by inboxMutex_
  std::vector<std::unique_ptr<Finish>> newFinishes_;  // guarded by inboxMutex_

  const std::unique_ptr<char[]> buffer_;
  LineBuffer out_;
  std::list<Slot> slots_;          // one per console, one for both if they are the same
  std::array<Slot*, 3> slotOf_{};  // by StreamSinks::console
  std::map<StreamId, std::unique_ptr<Stream>> streams_;
  std::map<std::string, std::unique_ptr<FileSink>> filtered_;  // by path
  std::list<std::unique_ptr<Finish>> finishes_;
  bool settling_ = false;  // settle() is on its way
  bool closing_ = false;

  Thread thread_;  // last: it uses all of the above
};

struct Pump::Impl::FileSink {
  Fd fd;
  std::string path;
  bool failed = false;
  StreamId open = 0;  // filtered files: whose unfinished line is the last one
  int users = 0;      // filtered files: streams that share it
};

struct Pump::Impl::Slot {
  std::unique_ptr<Console> console;
  std::vector<Stream*> waiting;  // for room; not read meanwhile
  StreamId lastWriter = 0;
  const char* lastName = "stdout";
};

struct Pump::Impl::Stream final : Loop::Watcher {
  Stream(Impl& impl, StreamId id, Fd pipe, StreamSinks given)
      : impl(impl), id(id), pipe(std::move(pipe)), sinks(std::move(given)), tail(sinks.tailBytes) {}
  void onReady(uint32_t) override { impl.readOnce(*this); }

  Impl& impl;
  const StreamId id;
  Fd pipe;
  const StreamSinks sinks;
  std::unique_ptr<FileSink> file;
  std::unique_ptr<FileSink> ownFiltered;  // until admit() finds out who shares it
  FileSink* filtered = nullptr;
  std::optional<Lines> filteredLines;
  Slot* slot = nullptr;
  std::optional<Lines> consoleLines;
  Tail tail;

  bool paused = false;  // in slot->waiting
  std::string held;     // read, but found no room on the console; only while paused
  bool atEnd = false;   // end of file; its last line may still wait for room
  bool ended = false;   // nothing more will be written
  Finish* finish = nullptr;
  size_t owed = 0;       // in the pipe when the finish began: the worker's own bytes
  bool expired = false;  // the drain is over: ends when nothing is owed
  bool hurried = false;  // no longer waits for the console
  Loop::TimerId drainTimer = 0;

  const char* consoleName() const { return sinks.console == 1 ? "stdout" : "stderr"; }
};

struct Pump::Impl::Finish {
  std::vector<StreamId> ids;
  std::chrono::milliseconds drain{0};
  std::function<void(std::vector<std::string>)> done;
  size_t reading = 0;  // streams that haven't ended
  bool flushing = false;
  std::vector<std::pair<Slot*, uint64_t>> marks;  // settled when the console has got that far
  TimePoint deadline;
  Loop::TimerId timer = 0;
};

}  // namespace regroup
