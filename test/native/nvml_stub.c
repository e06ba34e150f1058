// Stands in for NVIDIA's library, which is loaded the same way. What it tells is in the text file
// that REGROUP_NVML_STUB names, read by nvmlInit:
//
//   device GPU-1234 0000003B 5e 00 3    UUID; domain, bus and device in hexadecimal; minor number
//   mig MIG-5678                        of the last device; `gap`: a number without one
//   process 100 4096                    of the last device or MIG device; memory, or -1
//   graphics 101 4096
//   fail nvmlInit_v2 9                  that function gives this code
//   hang nvmlInit_v2 /path              it reads this FIFO to its end: until a writer has come, and gone
//   entry 32                            bytes of a process's entry. Default: 24
//
// With NVML_STUB_OLD it's as a driver before MIG: no functions for it, and no later versions.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { most = 16, success = 0, notSupported = 3, notFound = 6, tooSmall = 7 };

struct process {
  unsigned pid;
  unsigned long long used;
};

struct unit {
  char uuid[96];
  unsigned domain, bus, device, minor;
  struct unit* instances[most];  // null: a gap
  unsigned instanceCount;
  struct process compute[400];
  unsigned computeCount;
  struct process graphics[400];
  unsigned graphicsCount;
};

static struct unit units[most];
static struct unit* devices[most];
static unsigned unitCount, deviceCount, entryBytes;
static char failing[64], hanging[64], fifo[256];
static int failCode;

static void read_file(void) {
  char line[512], word[64];
  struct unit* last = NULL;
  const char* path = getenv("REGROUP_NVML_STUB");
  FILE* file = path == NULL ? NULL : fopen(path, "re");
  memset(units, 0, sizeof units);
  unitCount = deviceCount = 0;
#ifdef NVML_STUB_OLD
  entryBytes = 16;
#else
  entryBytes = 24;
#endif
  failing[0] = hanging[0] = 0;
  if (file == NULL) return;
  while (fgets(line, sizeof line, file) != NULL) {
    unsigned pid;
    long long used;
    if (sscanf(line, "%63s", word) != 1) continue;
    if (strcmp(word, "device") == 0) {
      last = devices[deviceCount++] = &units[unitCount++];
      sscanf(line, "device %95s %x %x %x %u", last->uuid, &last->domain, &last->bus, &last->device,
             &last->minor);
    } else if (strcmp(word, "mig") == 0) {
      struct unit* device = devices[deviceCount - 1];
      last = device->instances[device->instanceCount++] = &units[unitCount++];
      sscanf(line, "mig %95s", last->uuid);
    } else if (strcmp(word, "gap") == 0) {
      devices[deviceCount - 1]->instanceCount++;
    } else if (sscanf(line, "process %u %lld", &pid, &used) == 2) {
      last->compute[last->computeCount++] = (struct process){pid, (unsigned long long)used};
    } else if (sscanf(line, "graphics %u %lld", &pid, &used) == 2) {
      last->graphics[last->graphicsCount++] = (struct process){pid, (unsigned long long)used};
    } else {
      sscanf(line, "fail %63s %d", failing, &failCode);
      sscanf(line, "hang %63s %255s", hanging, fifo);
      sscanf(line, "entry %u", &entryBytes);
    }
  }
  fclose(file);
}

static int outcome(const char* function) {
  if (strcmp(hanging, function) == 0) {
    const int fd = open(fifo, O_RDONLY | O_CLOEXEC);
    char byte;
    while (fd >= 0 && read(fd, &byte, 1) > 0) continue;
    if (fd >= 0) close(fd);
  }
  return strcmp(failing, function) == 0 ? failCode : success;
}

int nvmlInit_v2(void) {
  read_file();
  return outcome("nvmlInit_v2");
}

int nvmlShutdown(void) { return outcome("nvmlShutdown"); }

const char* nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "Some Error"; }

int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = deviceCount;
  return outcome("nvmlDeviceGetCount_v2");
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct unit** handle) {
  *handle = devices[index];
  return outcome("nvmlDeviceGetHandleByIndex_v2");
}

int nvmlDeviceGetUUID(struct unit* unit, char* uuid, unsigned length) {
  snprintf(uuid, length, "%s", unit->uuid);
  return outcome("nvmlDeviceGetUUID");
}

int nvmlDeviceGetMinorNumber(struct unit* unit, unsigned* minor) {
  *minor = unit->minor;
  return outcome("nvmlDeviceGetMinorNumber");
}

struct pci {
  char legacy[16];
  unsigned domain, bus, device, pciDevice, subsystem;
};

static void fill_pci(struct unit* unit, struct pci* pci) {
  snprintf(pci->legacy, sizeof pci->legacy, "%04X:%02X:%02X.0", unit->domain & 0xffff, unit->bus,
           unit->device);
  pci->domain = unit->domain;
  pci->bus = unit->bus;
  pci->device = unit->device;
}

static int list(const struct process* processes, unsigned count, unsigned* room, char* entries) {
  if (*room < count) {
    *room = count;
    return tooSmall;
  }
  *room = count;
  for (unsigned i = 0; i < count; i++) {
    char entry[32] = {0};
    memcpy(entry, &processes[i].pid, 4);
    memcpy(entry + 8, &processes[i].used, 8);
    if (entryBytes > 16) memset(entry + 16, 0xff, 8);  // the instances that it has: none
    memcpy(entries + i * entryBytes, entry, entryBytes);
  }
  return success;
}

static int compute(struct unit* unit, unsigned* room, void* entries) {
  const int code = outcome("nvmlDeviceGetComputeRunningProcesses");
  return code != success ? code : list(unit->compute, unit->computeCount, room, entries);
}

static int graphics(struct unit* unit, unsigned* room, void* entries) {
  const int code = outcome("nvmlDeviceGetGraphicsRunningProcesses");
  return code != success ? code : list(unit->graphics, unit->graphicsCount, room, entries);
}

#ifdef NVML_STUB_OLD

int nvmlDeviceGetPciInfo_v2(struct unit* unit, struct pci* pci) {
  fill_pci(unit, pci);
  return outcome("nvmlDeviceGetPciInfo");
}

int nvmlDeviceGetComputeRunningProcesses(struct unit* unit, unsigned* room, void* entries) {
  return compute(unit, room, entries);
}

int nvmlDeviceGetGraphicsRunningProcesses(struct unit* unit, unsigned* room, void* entries) {
  return graphics(unit, room, entries);
}

#else

int nvmlDeviceGetPciInfo_v3(struct unit* unit, struct pci* pci) {
  fill_pci(unit, pci);
  // Longer than the second version's.
  snprintf((char*)(pci + 1), 32, "%08X:%02X:%02X.0", unit->domain, unit->bus, unit->device);
  return outcome("nvmlDeviceGetPciInfo");
}

int nvmlDeviceGetMaxMigDeviceCount(struct unit* unit, unsigned* count) {
  *count = unit->instanceCount;
  return outcome("nvmlDeviceGetMaxMigDeviceCount");
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct unit* unit, unsigned index, struct unit** handle) {
  *handle = unit->instances[index];
  return *handle == NULL ? notFound : outcome("nvmlDeviceGetMigDeviceHandleByIndex");
}

int nvmlDeviceGetComputeRunningProcesses_v3(struct unit* unit, unsigned* room, void* entries) {
  return compute(unit, room, entries);
}

int nvmlDeviceGetGraphicsRunningProcesses_v2(struct unit* unit, unsigned* room, void* entries) {
  return graphics(unit, room, entries);
}

#endif
