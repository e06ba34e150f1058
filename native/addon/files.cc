#include "addon/files.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "addon/channel.h"
#include "addon/errors.h"
#include "addon/fields.h"
#include "addon/methods.h"
#include "addon/option_reader.h"
#include "core/base/helpers.h"
#include "core/files/files.h"

namespace regroup {

namespace {

using Marks = std::vector<std::string>;
using Outcome = std::variant<std::monostate, FileFacts, FilePiece, Marks, Error, ListFailure,
                             AppendedFile::Outcome>;

/// Whether Node stays for an errand's end.
enum class Stays : uint8_t { No, Yes };

/// What has come of an errand.
struct Answer {
  double id;
  Stays stays;
  Outcome outcome;
};

Expects endOf(const Answer& answer) {
  return answer.stays == Stays::Yes ? Expects::OneLess : Expects::AsMany;
}

/// Fills one NativeFileAnswer. Thread: JS.
struct AnswerWriter {
  Napi::Env env;
  Napi::Object object;

  void number(const char* key, double value) { object.Set(key, Napi::Number::New(env, value)); }

  void operator()(std::monostate) {}
  void operator()(const FileFacts& facts) {
    Napi::Object found = Napi::Object::New(env);
    found.Set("mode", Napi::Number::New(env, facts.mode));
    found.Set("bytes", Napi::Number::New(env, static_cast<double>(facts.bytes)));
    found.Set("writtenAtMs", Napi::Number::New(env, facts.writtenAtMs));
    object.Set("facts", found);
  }
  void operator()(const FilePiece& piece) {
    (*this)(piece.facts);
    const std::string& bytes = piece.bytes;
    object.Set("bytes", Napi::Buffer<char>::Copy(env, bytes.data(), bytes.size()));
  }
  void operator()(const Marks& marks) {
    Napi::Array list = Napi::Array::New(env, marks.size());
    for (uint32_t i = 0; i < marks.size(); i++) list.Set(i, Napi::String::New(env, marks[i]));
    object.Set("marks", list);
  }
  void operator()(const Error& error) {
    number("errno", error.code);
    object.Set("syscall", Napi::String::New(env, error.op));
  }
  void operator()(const AppendedFile::Outcome& appended) {
    number("written", static_cast<double>(appended.written));
    if (appended.error) (*this)(*appended.error);
  }
  void operator()(const ListFailure& failure) {
    (*this)(failure.error);
    number("index", static_cast<double>(failure.index));
  }
};

/// NativeFileAnswer[]
Napi::Value toJs(Napi::Env env, std::vector<Answer> answers) {
  Napi::Array batch = Napi::Array::New(env, answers.size());
  for (uint32_t i = 0; i < answers.size(); i++) {
    AnswerWriter writer{env, Napi::Object::New(env)};
    writer.number("id", answers[i].id);
    std::visit(writer, answers[i].outcome);
    batch.Set(i, writer.object);
  }
  return batch;
}

template <typename Value>
Outcome outcomeOf(Result<Value> result) {
  if (!result) return result.error();
  if constexpr (std::is_void_v<Value>) {
    return std::monostate{};
  } else {
    return *std::move(result);
  }
}

/// Errands and their way to JS. The cleanup hook holds a share, so that the garbage collector can't
/// end it.
///
/// Thread: JS.
class Files : public std::enable_shared_from_this<Files> {
 public:
  static std::shared_ptr<Files> create(Napi::Env env, Napi::Function onDone) {
    auto files = std::make_shared<Files>();
    files->channel_ = Channel<Answer>::create(env, onDone);
    if (!files->channel_) return nullptr;
    files->env_ = env;
    files->self_ = files;
    // After the channel's own hook, and so run before it.
    (void)napi_add_env_cleanup_hook(env, onEnvironmentEnd, files.get());
    return files;
  }

  /// A JS error is pending where no thread can be had.
  void run(double id, std::function<Outcome()> errand, Stays stays = Stays::Yes) {
    if (!self_) return;
    auto prepared = helpers_->prepare();
    if (!prepared) return throwError(env_, prepared.error());
    if (stays == Stays::Yes) channel_->expect();
    helpers_->post([channel = channel_, id, stays, errand = std::move(errand)] {
      channel->push({id, stays, errand()});
      return false;
    });
  }

  /// One for each path, open until the end.
  std::shared_ptr<AppendedFile> appended(const std::string& path) {
    auto& file = appended_[path];
    if (!file) file = std::make_shared<AppendedFile>(path);
    return file;
  }
  /// What's under way goes on.
  void forget(const std::string& path) { appended_.erase(path); }

  void close() {
    if (!self_) return;
    (void)napi_remove_env_cleanup_hook(env_, onEnvironmentEnd, this);
    end();
  }

 private:
  static void onEnvironmentEnd(void* files) { static_cast<Files*>(files)->end(); }

  void end() {
    const auto keep = std::move(self_);
    helpers_.reset();
    channel_->close();
  }

  napi_env env_ = nullptr;
  std::shared_ptr<Helpers> helpers_ = std::make_shared<Helpers>();
  std::shared_ptr<Channel<Answer>> channel_;
  std::map<std::string, std::shared_ptr<AppendedFile>> appended_;
  std::shared_ptr<Files> self_;  // until the end
};

constexpr double kMaxMode = 07777;
/// Protects the agent's memory.
constexpr double kMaxPieceBytes = 64.0 * 1024 * 1024;

std::optional<FolderPlan> toFolderPlan(Napi::Value value, const std::string& what) {
  FolderPlan plan;
  OptionReader folder(value, what);
  folder.required("path", plan.path, toString);
  folder.required("mode", plan.mode, integerOf<mode_t>(0, kMaxMode));
  folder.required("mayBeThere", plan.mayBeThere, toBoolean);
  if (!folder.ok()) return std::nullopt;
  return plan;
}

std::optional<double> toId(Napi::Value value) {
  return toNumber(value, "id", 0, kMaxSafeInteger, true);
}

void makeFoldersOf(Files& self, const Napi::CallbackInfo& call) {
  const auto id = toId(call[0]);
  if (!id) return;
  auto plans = toList<FolderPlan>(call[1], "folders", toFolderPlan);
  if (!plans) return;
  self.run(*id, [plans = *std::move(plans)]() -> Outcome {
    const auto failure = makeFolders(plans);
    if (failure) return *failure;
    return std::monostate{};
  });
}

/// The errands that want but a path.
template <auto kErrand>
void errandAt(Files& self, const Napi::CallbackInfo& call) {
  const auto id = toId(call[0]);
  if (!id) return;
  auto path = toString(call[1], "path");
  if (path) self.run(*id, [path = *std::move(path)] { return outcomeOf(kErrand(path)); });
}

void readOf(Files& self, const Napi::CallbackInfo& call) {
  const auto id = toId(call[0]);
  if (!id) return;
  auto path = toString(call[1], "path");
  if (!path) return;
  const auto offset = toInteger<int64_t>(call[2], "offset", -kMaxSafeInteger, kMaxSafeInteger);
  if (!offset) return;
  const auto limit = toInteger<size_t>(call[3], "maxBytes", 0, kMaxPieceBytes);
  if (!limit) return;
  self.run(*id, [path = *std::move(path), offset = *offset, limit = *limit] {
    return outcomeOf(readPiece(path, offset, limit));
  });
}

void writeOf(Files& self, const Napi::CallbackInfo& call) {
  const auto id = toId(call[0]);
  if (!id) return;
  auto path = toString(call[1], "path");
  if (!path) return;
  auto text = toBytes(call[2], "text");
  if (!text) return;
  self.run(*id, [path = *std::move(path), text = *std::move(text)] {
    return outcomeOf(writeFile(path, text));
  });
}

void appendOf(Files& self, const Napi::CallbackInfo& call) {
  const auto id = toId(call[0]);
  if (!id) return;
  auto path = toString(call[1], "path");
  if (!path) return;
  auto lines = toBytes(call[2], "lines");
  if (!lines) return;
  self.run(*id, [file = self.appended(*path), lines = *std::move(lines)]() -> Outcome {
    return file->append(lines);
  });
}

void closeAppendedOf(Files& self, const Napi::CallbackInfo& call) {
  auto path = toString(call[0], "path");
  if (path) self.forget(*path);
}

void markOf(Files& self, const Napi::CallbackInfo& call) {
  const auto id = toId(call[0]);
  if (!id) return;
  auto paths = toList<std::string>(call[1], "paths", toString);
  if (!paths) return;
  self.run(
      *id, [paths = *std::move(paths)]() -> Outcome { return markFiles(paths); }, Stays::No);
}

void readTrustedOf(Files& self, const Napi::CallbackInfo& call) {
  const auto id = toId(call[0]);
  if (!id) return;
  auto folder = toString(call[1], "folder");
  if (!folder) return;
  auto name = toString(call[2], "name");
  if (!name) return;
  const auto limit = toInteger<size_t>(call[3], "maxBytes", 0, kMaxPieceBytes);
  if (!limit) return;
  self.run(
      *id,
      [folder = *std::move(folder), name = *std::move(name), limit = *limit] {
        return outcomeOf(readTrusted(folder, name, limit));
      },
      Stays::No);
}

std::optional<TrustedPlace> toTrustedPlace(Napi::Value value) {
  TrustedPlace place;
  OptionReader fields(value, "place");
  fields.required("base", place.base, toString);
  fields.required("folder", place.folder, toString);
  fields.required("name", place.name, toString);
  fields.required("kind", place.kind, toString);
  fields.required("maxFiles", place.maxFiles, integerOf<size_t>(1, kMaxSafeInteger));
  fields.required("maxBytes", place.maxBytes, integerOf<uint64_t>(1, kMaxSafeInteger));
  if (!fields.ok()) return std::nullopt;
  return place;
}

void writeTrustedOf(Files& self, const Napi::CallbackInfo& call) {
  const auto id = toId(call[0]);
  if (!id) return;
  auto place = toTrustedPlace(call[1]);
  if (!place) return;
  auto text = toBytes(call[2], "text");
  if (!text) return;
  self.run(
      *id,
      [place = *std::move(place), text = *std::move(text)] {
        return outcomeOf(writeTrusted(place, text));
      },
      Stays::No);
}

/// openFiles(onDone): NativeFiles
Napi::Value openFiles(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto onDone = toFunction(info[0], "onDone");
  if (!onDone) return {};
  auto files = Files::create(env, *onDone);
  if (!files) return {};

  Napi::Object object = Napi::Object::New(env);
  const Method<Files> methods[] = {
      {"makeFolders", makeFoldersOf},
      {"removeTree", errandAt<removeTree>},
      {"lookAt", errandAt<lookAt>},
      {"read", readOf},
      {"write", writeOf},
      {"append", appendOf},
      {"closeAppended", closeAppendedOf},
      {"mark", markOf},
      {"makeFifo", errandAt<makeFifo>},
      {"readTrusted", readTrustedOf},
      {"writeTrusted", writeTrustedOf},
      {"close", [](Files& self, const Napi::CallbackInfo&) { self.close(); }},
  };
  addMethods(object, files, methods);
  return object;
}

}  // namespace

void initFiles(Napi::Object exports) {
  const Method<> functions[] = {{"openFiles", openFiles}};
  addMethods(exports, functions);
}

}  // namespace regroup
