{
  "targets": [
    {
      "target_name": "regroup",
      # sources.gypi isn't included: in what's included gyp takes the members of a `…_files` list to
      # be relative to the included file, and ours are relative to this one, as CMake reads them.
      "sources": [
        "<!@(node -p \"const { core_files, addon_files } = JSON.parse(require('fs').readFileSync('native/sources.gypi', 'utf8')).variables; [...core_files, ...addon_files].join(' ')\")"
      ],
      "include_dirs": ["native", "<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_DISABLE_DEPRECATED", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "cflags_cc": ["-std=c++20", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Wno-unused-parameter"],
      "ldflags": ["-Wl,-z,now", "-Wl,--as-needed"],
      "conditions": [["OS!='linux'", { "type": "none", "sources/": [["exclude", ".*"]] }]]
    },
    {
      # For workers: what they load to reach the store through shared memory. Not a .node, since nothing
      # of Node is in it.
      "target_name": "regroup_shm",
      "type": "shared_library",
      "sources": [
        "<!@(node -p \"JSON.parse(require('fs').readFileSync('native/sources.gypi', 'utf8')).variables.shm_library_files.join(' ')\")"
      ],
      "include_dirs": ["native"],
      "defines": ["REGROUP_SHM_SHARED"],
      "cflags_cc": ["-std=gnu++20", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-missing-field-initializers"],
      "ldflags": ["-Wl,-z,now", "-Wl,--as-needed"],
      "conditions": [["OS!='linux'", { "type": "none", "sources/": [["exclude", ".*"]] }]]
    },
    {
      # A program without libc; see its source. Linking a static libc would need one to be installed.
      "target_name": "regroup_guardian",
      "type": "executable",
      "sources": [
        "<!@(node -p \"JSON.parse(require('fs').readFileSync('native/sources.gypi', 'utf8')).variables.guardian_files.join(' ')\")"
      ],
      "include_dirs": ["native"],
      "cflags!": ["-pthread", "-fno-omit-frame-pointer"],
      "cflags_cc": ["-std=gnu++20", "-ffreestanding", "-fno-exceptions", "-fno-rtti", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns", "-fno-pie", "-Wall", "-Wextra"],
      "ldflags!": ["-pthread", "-rdynamic"],
      "ldflags": ["-nostdlib", "-static", "-no-pie"],
      "conditions": [["OS!='linux'", { "type": "none", "sources/": [["exclude", ".*"]] }]]
    },
    {
      # What the commands begin with; without libc as well.
      "target_name": "regroup_front",
      "type": "executable",
      "sources": [
        "<!@(node -p \"JSON.parse(require('fs').readFileSync('native/sources.gypi', 'utf8')).variables.front_files.join(' ')\")"
      ],
      "include_dirs": ["native"],
      "cflags!": ["-pthread", "-fno-omit-frame-pointer"],
      "cflags_cc": ["-std=gnu++20", "-ffreestanding", "-fno-exceptions", "-fno-rtti", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns", "-fno-pie", "-Wall", "-Wextra"],
      "ldflags!": ["-pthread", "-rdynamic"],
      "ldflags": ["-nostdlib", "-static", "-no-pie"],
      "conditions": [["OS!='linux'", { "type": "none", "sources/": [["exclude", ".*"]] }]]
    },
    {
      # Preloaded into workers, whatever libc they have: so it needs none.
      "target_name": "regroup_early",
      "type": "shared_library",
      "sources": [
        "<!@(node -p \"JSON.parse(require('fs').readFileSync('native/sources.gypi', 'utf8')).variables.early_library_files.join(' ')\")"
      ],
      "include_dirs": ["native"],
      "cflags!": ["-pthread"],
      "cflags_cc": ["-std=gnu++20", "-ffreestanding", "-fno-exceptions", "-fno-rtti", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns", "-fvisibility=hidden", "-Wall", "-Wextra"],
      "ldflags!": ["-pthread", "-rdynamic"],
      "ldflags": ["-nostdlib", "-Wl,-z,now"],
      "conditions": [["OS!='linux'", { "type": "none", "sources/": [["exclude", ".*"]] }]]
    },
    {
      # The same, and its callers' stacks are unwound through it.
      "target_name": "regroup_exit_guard",
      "type": "shared_library",
      "sources": [
        "<!@(node -p \"JSON.parse(require('fs').readFileSync('native/sources.gypi', 'utf8')).variables.exit_guard_library_files.join(' ')\")"
      ],
      "include_dirs": ["native"],
      "cflags!": ["-pthread"],
      "cflags_cc": ["-std=gnu++20", "-ffreestanding", "-fno-exceptions", "-fno-rtti", "-fno-stack-protector", "-fasynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns", "-fvisibility=hidden", "-Wall", "-Wextra"],
      "ldflags!": ["-pthread", "-rdynamic"],
      "ldflags": ["-nostdlib", "-Wl,-z,now"],
      "conditions": [["OS!='linux'", { "type": "none", "sources/": [["exclude", ".*"]] }]]
    },
    {
      # prebuildify packs what lies there, beside the addon.
      "target_name": "artifacts",
      "type": "none",
      "dependencies": ["regroup_shm", "regroup_guardian", "regroup_front", "regroup_early", "regroup_exit_guard"],
      "conditions": [["OS=='linux'", {
        "copies": [{ "destination": "<(module_root_dir)/build/artifacts", "files": ["<(PRODUCT_DIR)/regroup_shm.so", "<(PRODUCT_DIR)/regroup_guardian", "<(PRODUCT_DIR)/regroup_front", "<(PRODUCT_DIR)/regroup_early.so", "<(PRODUCT_DIR)/regroup_exit_guard.so"] }]
      }]]
    }
  ]
}
