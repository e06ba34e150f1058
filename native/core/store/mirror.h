#pragma once

#include <memory>

#include "core/base/result.h"
#include "core/shm/shm_writer.h"
#include "core/store/table.h"

namespace regroup::store {

/// Publishes a table's keys to shared memory.
///
/// Owner: Served. Thread: store.
class Mirror final : public TableObserver {
 public:
  static Result<std::unique_ptr<Mirror>> create(const shm::WriterOptions& options);

  shm::Writer& writer() { return *writer_; }

 private:
  explicit Mirror(std::unique_ptr<shm::Writer> writer) : writer_(std::move(writer)) {}
  void changed(std::string_view key, const Value& value) override;
  void grew(std::string_view key, const Value& value) override;
  void removed(std::string_view key) override;
  void queued(std::string_view key) override;
  void incomplete() override;

  const std::unique_ptr<shm::Writer> writer_;
};

}  // namespace regroup::store
