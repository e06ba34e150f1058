{
  "variables": {
    "core_files": [
      "native/core/base/symbols.cc",
      "native/core/base/syscall.cc",
      "native/core/base/thread.cc",
      "native/core/base/loop.cc",
      "native/core/base/clone.cc",
      "native/core/base/features.cc",
      "native/core/spawn/plan.cc",
      "native/core/spawn/child.cc",
      "native/core/spawn/spawn.cc",
      "native/core/process/signals.cc",
      "native/core/process/strays.cc",
      "native/core/process/supervisor.cc",
      "native/core/output/lines.cc",
      "native/core/output/console.cc",
      "native/core/output/pump.cc",
      "native/core/store/protocol.cc",
      "native/core/store/table.cc",
      "native/core/store/server.cc"
    ],
    "addon_files": [
      "native/addon/addon.cc",
      "native/addon/channel.cc",
      "native/addon/convert.cc",
      "native/addon/errors.cc",
      "native/addon/launcher.cc",
      "native/addon/store.cc"
    ]
  }
}
