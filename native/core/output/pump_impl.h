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
#include "core/base/helpers.h"
#include "core/base/loop.h"
#include "core/base/thread.h"
#include "core/output/console.h"
#include "core/output/lines.h"
#include "core/output/log_file.h"
#include "core/output/pump.h"

namespace regroup {

/// Thread: pump, but for the parts that say otherwise.
class Pump::Impl {
 public:
  Impl(std::shared_ptr<Loop> loop, std::shared_ptr<Helpers> helpers, Options options);
  ~Impl();
  Result<void> startThread();

  // Thread: any
  Result<StreamId> add(Fd readEnd, StreamSinks sinks, SinkFiles files, OnTrouble onTrouble);
  void finish(std::vector<StreamId> ids, std::chrono::milliseconds drain,
              std::function<void(std::vector<std::string>)> done);
  void say(int console, std::string lines);
  void flush(FlushPatience patience, std::function<void(uint64_t)> done);
  void hurry();

 private:
  /// With prefixes; more than that is written in two.
  static constexpr size_t kOutBytes = 4 * kBlockBytes;

  struct FilteredFile;
  struct Stream;
  struct Finish;
  struct Flush;
  struct Slot;

  // pump.cc
  void receive();
  static void report(const Stream& stream, std::string path, int code, uint64_t droppedLines);
  void reportConsole(Slot& slot);

  // pump_streams.cc: from the pipes
  void admit(std::unique_ptr<Stream> given);
  void readOnce(Stream& stream);
  void giveFiltered(Stream& stream, std::string_view bytes, bool last);
  static void tellFiltered(Stream& stream, bool whole);
  static void tellFile(Stream& stream);
  void pauseForWrite(Stream& stream);
  void checkWrite(Stream& stream);
  void endWrite(Stream& stream);
  void pauseForFile(Stream& stream);
  void onFileChange(Stream& stream);
  void loseFile(Stream& stream);
  void watch(Stream& stream);
  void unwatch(Stream& stream);
  void goOn(Stream& stream);
  void expire(Stream& stream);
  void end(Stream& stream);

  // pump_console.cc: to the console, as it comes
  static bool mayFallBehind(const Stream& stream);
  static bool drops(const Stream& stream);
  void holdBack(Stream& stream, std::string_view bytes);
  void showUnshown(Stream& stream);
  void giveConsole(Stream& stream, std::string_view bytes);
  size_t showSome(Stream& stream, std::string_view bytes);
  void write(Stream& stream);
  void beginChunk(Stream& stream);
  void dropLines(Stream& stream, std::string_view bytes, bool last);
  void pauseForConsole(Stream& stream);
  void resume(Slot& slot);
  void watchPartial(Stream& stream);
  void showPartial(Stream& stream);
  bool endConsole(Stream& stream);

  // pump_behind.cc: to the console, from the files
  void fallBehind(Stream& stream, uint64_t lines);
  void catchUp(Slot& slot);
  void measure(Slot& slot);
  static Stream* nextBehind(const Slot& slot, TimePoint now);
  void readOn(Stream& stream);
  void watchRereads(Slot& slot);
  void onReread(Stream& stream, std::string_view bytes);
  bool showHeldBack(Stream& stream);
  bool arrive(Stream& stream);
  void leaveBehind(Stream& stream);
  void lose(Stream& stream);

  // pump_finish.cc
  void startFinish(std::unique_ptr<Finish> given);
  void settleSoon();
  void settle();
  bool settled(Finish& finish);
  bool settled(const Finish& finish, Stream& stream);
  bool waitsFor(LogFile& file, const Finish& finish);
  void hurry(Finish& finish);
  void complete(Finish& finish);
  void tellAtEnd(Stream& stream);
  Flush& startFlush(FlushPatience patience, std::function<void(uint64_t)> done);
  bool flushed(Flush& flush);
  bool flushed(Flush& flush, Slot& slot, size_t index);
  uint64_t unshownLines() const;
  void wakeAt(TimePoint due);
  void shutDown();

  const Options options_;
  const std::shared_ptr<Loop> loop_;  // shared with helpers, which may outlive us
  const std::shared_ptr<Helpers> helpers_;
  const std::shared_ptr<Blocks> blocks_ = std::make_shared<Blocks>();
  std::atomic<StreamId> nextId_{1};

  std::mutex inboxMutex_;
  std::vector<std::unique_ptr<Stream>> newStreams_;   // guarded by inboxMutex_
  std::vector<std::unique_ptr<Finish>> newFinishes_;  // guarded by inboxMutex_

  const std::unique_ptr<char[]> buffer_;  // for streams without a file
  LineBuffer out_;
  std::list<Slot> slots_;          // one per console, one for both if they are the same
  std::array<Slot*, 3> slotOf_{};  // by StreamSinks::console
  std::map<StreamId, std::unique_ptr<Stream>> streams_;
  std::map<std::string, std::unique_ptr<FilteredFile>> filtered_;  // by path
  std::list<std::unique_ptr<Finish>> finishes_;
  std::list<Flush> flushes_;
  std::map<uint64_t, Stream*> trailers_;  // streams that are behind, and whose workers are gone
  uint64_t nextTrailer_ = 1;
  bool settling_ = false;  // settle() is on its way
  Loop::TimerId settleTimer_ = 0;
  TimePoint settleAt_{};
  bool closing_ = false;
  bool lastFlush_ = false;  // it's under way

  Thread thread_;  // last: it uses all of the above
};

struct Pump::Impl::FilteredFile {
  std::string path;
  std::unique_ptr<LogFile> file;
  StreamId open = 0;  // whose unfinished line is the last one
  int users = 0;      // streams that share it
  bool failed = false;
};

struct Pump::Impl::Slot {
  std::unique_ptr<Console> console;
  std::vector<Stream*> waiting;  // for room; not read meanwhile
  std::vector<Stream*> behind;   // in turn; those whose workers are gone come first
  StreamId lastWriter = 0;
  uint64_t linesMark = 0;  // what the console had accepted when it got a worker's line last
  Loop::TimerId rereadTimer = 0;
  size_t aheadBytes = 0;  // that may wait for a console that was slow
  uint64_t measured = 0;  // what it had taken
  TimePoint measuredAt{};
};

struct Pump::Impl::Stream final : Loop::Watcher {
  Stream(Impl& impl, StreamId id, Fd pipe, StreamSinks given, SinkFiles files, OnTrouble onTrouble)
      : impl(impl),
        id(id),
        pipe(std::move(pipe)),
        sinks(std::move(given)),
        onTrouble(std::move(onTrouble)),
        opened(std::move(files)),
        tail(sinks.tailBytes) {}
  void onReady(uint32_t) override { impl.readOnce(*this); }
  const char* consoleName() const { return sinks.console == 1 ? "stdout" : "stderr"; }

  Impl& impl;
  const StreamId id;
  Fd pipe;
  const StreamSinks sinks;
  const OnTrouble onTrouble;
  SinkFiles opened;  // until admit()
  std::unique_ptr<LogFile> file;
  FilteredFile* filtered = nullptr;
  std::optional<Lines> filteredLines;
  Slot* slot = nullptr;
  std::optional<Lines> consoleLines;
  Tail tail;

  // Its pipe.
  bool watched = false;
  bool waitsForConsole = false;  // in slot->waiting
  bool waitsForWrite = false;    // of what was read last
  bool waitsForFile = false;     // for room
  bool atEnd = false;            // end of file; its last line may still wait for room
  bool ended = false;            // nothing more will be read
  Finish* finish = nullptr;
  size_t owed = 0;       // in the pipe when the finish began: the worker's own bytes
  bool expired = false;  // the drain is over: ends when nothing is owed
  bool hurried = false;  // no longer waits for the console
  Loop::TimerId drainTimer = 0;

  // Its file.
  Loop::TimerId writeTimer = 0;
  TimePoint writeDue{};
  Loop::TimerId fileTimer = 0;
  bool fileTold = false;   // that it takes nothing
  bool fileLost = false;   // it was given up
  uint64_t lostLines = 0;  // to the file

  // Its console.
  std::string unshown;  // it's being written; comes before anything else
  std::string held;  // no room for it yet; it was read from the pipe, or if it's behind, the file
  bool behind = false;     // in slot->behind: the console gets the rest from the file
  uint64_t trailer = 0;    // behind, and its worker is gone: their order
  uint64_t owedLines = 0;  // that the console is behind
  bool rereading = false;
  TimePoint rereadSince{};
  Loop::TimerId partialTimer = 0;
  TimePoint lastGiven{};
};

struct Pump::Impl::Finish {
  std::vector<StreamId> ids;
  std::chrono::milliseconds drain{0};
  std::function<void(std::vector<std::string>)> done;
  std::vector<Stream*> pending;  // still read, or not written yet
  TimePoint began;
  TimePoint deadline;  // for slow consoles of streams without a file
};

struct Pump::Impl::Flush {
  FlushPatience patience;
  std::function<void(uint64_t)> done;
  TimePoint began;
  std::optional<TimePoint> deadline;
  std::vector<std::optional<uint64_t>> marks;  // of each slot, once no trailer is left
};

}  // namespace regroup
