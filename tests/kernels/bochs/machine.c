/* The software of the emulated machine: runs one static Linux program, to which it is Linux.
 *
 * The disk holds a Header, then the files. They are all the program's arguments, the program first,
 * and all that it can open. Those it has written are written back to the disk, and its exit status
 * to the header. What it prints goes to the emulator's debug port.
 */
#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

enum { kSector = 512, kMostFiles = 4, kFirstHandle = 3 };

/* Memory: this software below 1 MiB, the program where it is linked to (4 MiB), its heap, its
 * stack, and the files as on the disk. Beyond there is none: using it stops the emulator. */
enum { kHeapEnd = 120 << 20, kStackEnd = 128 << 20, kFiles = kStackEnd };

typedef struct {
  char name[104];
  uint64_t offset; /* from kFiles; whole sectors */
  uint64_t bytes;
} File;

typedef struct {
  int64_t status;
  uint64_t count;
  File files[kMostFiles];
} Header;
_Static_assert(sizeof(Header) <= kSector, "one sector");

static union {
  Header header;
  char sector[kSector];
} disk;
static uint64_t positions[kMostFiles]; /* of the open files */
static int written[kMostFiles];
static uintptr_t heap;

_Noreturn void Enter(uintptr_t entry, const void* stack);

static void Out(uint16_t port, uint8_t value) {
  __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t In(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static void Print(const char* text, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) Out(0xe9, (uint8_t)text[i]);
}

static _Noreturn void PowerOff(void) {
  for (const char* c = "Shutdown"; *c; ++c) Out(0x8900, (uint8_t)*c);
  for (;;) __asm__ volatile("hlt");
}

static void Copy(void* to, const void* from, size_t bytes) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

static void Clear(uintptr_t begin, uintptr_t end) {
  size_t bytes = end - begin;
  __asm__ volatile("rep stosb" : "+D"(begin), "+c"(bytes) : "a"(0) : "memory");
}

static int Equal(const char* a, const char* b) {
  for (; *a && *a == *b; ++a, ++b) {
  }
  return *a == *b;
}

static size_t Sectors(uint64_t bytes) { return (bytes + kSector - 1) / kSector; }

/* By ATA, one sector at a time, the processor moving the data. */
static void Transfer(int write, size_t sector, char* memory, size_t count) {
  enum { kData = 0x1f0, kCount = 0x1f2, kAddress = 0x1f3, kDrive = 0x1f6, kCommand = 0x1f7 };
  enum { kReady = 0x08, kBusy = 0x80, kRead = 0x20, kWrite = 0x30 };
  for (; count != 0; --count, ++sector) {
    Out(kCount, 1);
    for (int i = 0; i < 3; ++i) Out((uint16_t)(kAddress + i), (uint8_t)(sector >> (8 * i)));
    Out(kDrive, (uint8_t)(0xe0 | sector >> 24));
    Out(kCommand, write ? kWrite : kRead);
    while ((In(kCommand) & (kBusy | kReady)) != kReady) {
    }
    size_t words = kSector / 2;
    if (write) {
      __asm__ volatile("rep outsw" : "+S"(memory), "+c"(words) : "d"(kData) : "memory");
    } else {
      __asm__ volatile("rep insw" : "+D"(memory), "+c"(words) : "d"(kData) : "memory");
    }
  }
}

static char* Contents(const File* file) { return (char*)(uintptr_t)kFiles + file->offset; }

static void Move(int write, const File* file) {
  Transfer(write, 1 + file->offset / kSector, Contents(file), Sectors(file->bytes));
}

static _Noreturn void Exit(int64_t status) {
  for (size_t i = 0; i < disk.header.count; ++i) {
    if (written[i]) Move(1, &disk.header.files[i]);
  }
  disk.header.status = status;
  Transfer(1, 0, disk.sector, 1);
  PowerOff();
}

static int64_t Open(const char* name) {
  for (size_t i = 0; i < disk.header.count; ++i) {
    if (Equal(name, disk.header.files[i].name)) {
      positions[i] = 0;
      return kFirstHandle + (int64_t)i;
    }
  }
  return -ENOENT;
}

/* Reads or writes an open file, within its size. */
static int64_t Access(int write, int64_t handle, char* memory, size_t bytes) {
  if (write && (handle == 1 || handle == 2)) {
    Print(memory, bytes);
    return (int64_t)bytes;
  }
  const int64_t i = handle - kFirstHandle;
  if (i < 0 || i >= (int64_t)disk.header.count) return -EBADF;
  const File* file = &disk.header.files[i];
  char* place = Contents(file) + positions[i];
  const size_t left = file->bytes - positions[i];
  if (write && bytes > left) return -ENOSPC;
  if (bytes > left) bytes = left;
  Copy(write ? place : memory, write ? memory : place, bytes);
  positions[i] += bytes;
  written[i] |= write;
  return (int64_t)bytes;
}

static int64_t MoveHeap(uintptr_t end) {
  if (end > heap && end <= kHeapEnd) {
    Clear(heap, end);
    heap = end;
  }
  return (int64_t)heap;
}

static int64_t SetThreadPointer(uint64_t value) {
  enum { kFsBase = 0xc0000100 };
  __asm__ volatile("wrmsr" : : "c"(kFsBase), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
  return 0;
}

/* The system calls that a C library needs to begin, for memory and for files. It does without the
 * rest; protected memory is only asked for to be safer. */
int64_t Serve(int64_t number, uint64_t a, uint64_t b, uint64_t c) {
  enum { kSetFs = 0x1002 };
  switch (number) {
    case SYS_openat:
      return Open((const char*)b);
    case SYS_read:
      return Access(0, (int64_t)a, (char*)b, c);
    case SYS_write:
      return Access(1, (int64_t)a, (char*)b, c);
    case SYS_brk:
      return MoveHeap(a);
    case SYS_arch_prctl:
      return a == kSetFs ? SetThreadPointer(b) : -EINVAL;
    case SYS_close:
    case SYS_mprotect:
      return 0;
    case SYS_exit_group:
      Exit((int64_t)a);
    default:
      return -ENOSYS;
  }
}

static void Load(const Elf64_Ehdr* elf) {
  const char* file = (const char*)elf;
  const Elf64_Phdr* part = (const Elf64_Phdr*)(file + elf->e_phoff);
  for (int i = 0; i < elf->e_phnum; ++i, ++part) {
    if (part->p_type == PT_LOAD) {
      const uintptr_t end = part->p_vaddr + part->p_memsz;
      Copy((void*)part->p_vaddr, file + part->p_offset, part->p_filesz);
      Clear(part->p_vaddr + part->p_filesz, end);
      if (end > heap) heap = end;
    }
  }
}

/* Count and addresses of the arguments, no environment, and one auxiliary value. */
static const void* Stack(void) {
  static uint64_t random[2];
  uint64_t* stack = (uint64_t*)(uintptr_t)kStackEnd - 16;
  uint64_t* word = stack;
  *word++ = disk.header.count;
  for (size_t i = 0; i < disk.header.count; ++i) *word++ = (uintptr_t)disk.header.files[i].name;
  *word++ = 0;
  *word++ = 0;
  *word++ = AT_RANDOM;
  *word++ = (uintptr_t)random;
  *word++ = AT_NULL;
  *word = 0;
  return stack;
}

_Noreturn void Run(void) {
  Transfer(0, 0, disk.sector, 1);
  for (size_t i = 0; i < disk.header.count; ++i) Move(0, &disk.header.files[i]);
  const Elf64_Ehdr* elf = (const Elf64_Ehdr*)Contents(&disk.header.files[0]);
  Load(elf);
  Enter(elf->e_entry, Stack());
}
