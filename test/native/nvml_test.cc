// GPUs by NVIDIA's library, here a stub that's loaded the same way.
#include "core/gpu/nvml.h"

#include <sched.h>

#include "test/native/support.h"
#include "test/native/tap.h"

using namespace regroup;
using namespace support;

namespace {

using Why = NvmlTrouble::Why;

NvmlReport query(const std::string& text, std::chrono::milliseconds limit = kLong,
                 const char* library = REGROUP_NVML_STUB_LIBRARY) {
  TempDir folder;
  writeFile(folder.file("gpus"), text);
  ::setenv("REGROUP_NVML_STUB", folder.file("gpus").c_str(), 1);
  return queryNvml(library, limit);
}

constexpr const char* kTwo =
    "device GPU-aaaa 00000000 3b 00 1\nprocess 100 4096\nprocess 101 -1\ngraphics 102 64\n"
    "device GPU-bbbb 00010000 af 1f 0\n";

std::string show(const std::vector<NvmlProcess>& processes) {
  std::string text;
  for (const NvmlProcess& each : processes) {
    text += text.empty() ? "" : " ";
    text += (each.graphics ? "g" : "c") + std::to_string(each.pid) + ":" +
            (each.usedBytes ? std::to_string(*each.usedBytes) : "?");
  }
  return text;
}

}  // namespace

TEST("devices have their UUID, their address as sysfs has it, and their processes") {
  const NvmlReport report = query(kTwo);

  CHECK(!report.trouble);
  REQUIRE_EQ(report.devices.size(), 2u);
  const NvmlDevice& first = report.devices[0];
  CHECK_EQ(first.index, 0u);
  CHECK_EQ(first.uuid, "GPU-aaaa");
  CHECK_EQ(first.pci, "0000:3b:00.0");
  CHECK(first.minor == 1u);
  CHECK(!first.trouble);
  CHECK_EQ(show(first.processes), "c100:4096 c101:? g102:64");
  const NvmlDevice& second = report.devices[1];
  CHECK_EQ(second.index, 1u);
  CHECK_EQ(second.uuid, "GPU-bbbb");
  CHECK_EQ(second.pci, "10000:af:1f.0");  // such domains exist, behind VMD and in virtual machines
  CHECK(second.minor == 0u);
  CHECK_EQ(show(second.processes), "");
}

TEST("MIG devices have their own UUIDs and processes, and gaps in their numbers don't end them") {
  const NvmlReport report = query(
      "device GPU-aaaa 00000000 3b 00 0\nprocess 7 1\nmig MIG-1\nprocess 7 1\ngap\nmig MIG-2\n");

  REQUIRE_EQ(report.devices.size(), 1u);
  CHECK_EQ(show(report.devices[0].processes), "c7:1");
  REQUIRE_EQ(report.devices[0].instances.size(), 2u);
  CHECK_EQ(report.devices[0].instances[0].uuid, "MIG-1");
  CHECK_EQ(show(report.devices[0].instances[0].processes), "c7:1");
  CHECK_EQ(report.devices[0].instances[1].uuid, "MIG-2");
  CHECK_EQ(show(report.devices[0].instances[1].processes), "");
}

TEST("an old driver without MIG, with the first versions of its functions, tells all that it has") {
  const NvmlReport report = query(kTwo, kLong, REGROUP_NVML_OLD_STUB_LIBRARY);

  CHECK(!report.trouble);
  REQUIRE_EQ(report.devices.size(), 2u);
  CHECK_EQ(report.devices[0].pci, "0000:3b:00.0");
  CHECK(report.devices[0].instances.empty());
  CHECK_EQ(show(report.devices[0].processes), "c100:4096 c101:? g102:64");
}

TEST("processes are read right whatever the driver's size of an entry, and however many they are") {
  for (const char* bytes : {"16", "24", "32"}) {
    std::string text = "device GPU-aaaa 00000000 3b 00 0\n";
    for (int pid = 1; pid <= 300; pid++) text += "process " + std::to_string(pid) + " 4096\n";
    const NvmlReport report = query(text + "entry " + bytes + "\n");

    REQUIRE_EQ(report.devices.size(), 1u);
    const auto& processes = report.devices[0].processes;
    REQUIRE_EQ(processes.size(), 300u);
    for (int i = 0; i < 300; i++) {
      REQUIRE_EQ(processes[i].pid, i + 1);
      REQUIRE(processes[i].usedBytes == uint64_t{4096});
    }
  }
}

TEST("without the library there are no devices, and the loader's words say why") {
  const NvmlReport report = query("", kLong, "libregroup-no-such.so.1");

  CHECK(report.devices.empty());
  REQUIRE(report.trouble.has_value());
  CHECK(report.trouble->why == Why::NoLibrary);
  CHECK_EQ(report.trouble->step, "dlopen");
  CHECK(report.trouble->text.find("libregroup-no-such.so.1") != std::string::npos);
}

TEST("a library that's something else is refused, not called") {
  const NvmlReport report = query("", kLong, "libm.so.6");

  REQUIRE(report.trouble.has_value());
  CHECK(report.trouble->why == Why::NoLibrary);
  CHECK_EQ(report.trouble->step, "nvmlInit_v2");
}

TEST("what fails for all is told with the driver's code and words") {
  for (const char* function : {"nvmlInit_v2", "nvmlDeviceGetCount_v2"}) {
    const NvmlReport report = query(std::string(kTwo) + "fail " + function + " 9\n");

    CHECK(report.devices.empty());
    REQUIRE(report.trouble.has_value());
    CHECK(report.trouble->why == Why::Refused);
    CHECK_EQ(report.trouble->step, function);
    CHECK_EQ(report.trouble->code, 9);
    CHECK_EQ(report.trouble->text, "Driver Not Loaded");
  }
}

TEST("whatever code a device's functions give, the devices are told, with the trouble") {
  const char* functions[] = {"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID",
                             "nvmlDeviceGetPciInfo", "nvmlDeviceGetComputeRunningProcesses",
                             "nvmlDeviceGetGraphicsRunningProcesses"};
  for (const char* function : functions) {
    for (int code : {1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13, 15, 16, 999}) {
      const NvmlReport report =
          query(std::string(kTwo) + "fail " + function + " " + std::to_string(code) + "\n");

      CHECK(!report.trouble);
      REQUIRE_EQ(report.devices.size(), 2u);
      const auto& trouble = report.devices[0].trouble;
      const bool aboutProcesses = ::strstr(function, "Processes") != nullptr;
      // Who may not ask for processes still has the devices.
      if (aboutProcesses && (code == 3 || code == 4 || code == 13)) {
        CHECK(!trouble);
        continue;
      }
      REQUIRE(trouble.has_value());
      CHECK(trouble->why == Why::Refused);
      CHECK_EQ(trouble->step, function);
      CHECK_EQ(trouble->code, code);
    }
  }
}

TEST("without MIG, a minor number or a clean end the devices are told as if nothing were wrong") {
  for (const char* function : {"nvmlDeviceGetMaxMigDeviceCount", "nvmlDeviceGetMinorNumber",
                               "nvmlDeviceGetMigDeviceHandleByIndex", "nvmlShutdown"}) {
    const NvmlReport report = query("device GPU-aaaa 00000000 3b 00 0\nmig MIG-1\nfail " +
                                    std::string(function) + " 3\n");

    CHECK(!report.trouble);
    REQUIRE_EQ(report.devices.size(), 1u);
    CHECK(!report.devices[0].trouble);
    CHECK_EQ(report.devices[0].uuid, "GPU-aaaa");
  }
}

TEST("a driver that hangs is left alone at the limit, is not asked meanwhile, and then again") {
  TempDir folder;
  const std::string fifo = folder.file("fifo");
  REQUIRE_EQ(::mkfifo(fifo.c_str(), 0600), 0);

  const NvmlReport hung =
      query(kTwo + ("hang nvmlInit_v2 " + fifo + "\n"), std::chrono::milliseconds(50));
  // It would wait for the hours that it's given if it asked.
  const NvmlReport meanwhile = query(kTwo, std::chrono::hours(10));
  { const Fd writer(::open(fifo.c_str(), O_WRONLY | O_CLOEXEC)); }
  NvmlReport after = query(kTwo);
  // Nothing tells when the thread that was left has ended but that queries are answered again.
  while (after.trouble) {
    ::sched_yield();
    after = query(kTwo);
  }

  for (const NvmlReport* report : {&hung, &meanwhile}) {
    CHECK(report->devices.empty());
    REQUIRE(report->trouble.has_value());
    CHECK(report->trouble->why == Why::TimedOut);
  }
  CHECK_EQ(hung.trouble->step, "nvmlInit_v2");
  CHECK_EQ(after.devices.size(), 2u);
}

TEST("an answer that comes just as the limit ends is taken or left, and never both") {
  TempDir folder;
  writeFile(folder.file("gpus"), kTwo);
  ::setenv("REGROUP_NVML_STUB", folder.file("gpus").c_str(), 1);

  for (int i = 0; i < 200; i++) {
    const NvmlReport report =
        queryNvml(REGROUP_NVML_STUB_LIBRARY, std::chrono::milliseconds(i % 2));
    CHECK(report.devices.size() == 2u || (report.trouble && report.trouble->why == Why::TimedOut));
  }
}

TAP_MAIN
