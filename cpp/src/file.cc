#include "file.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include "text.h"
#include "tvmake/error.h"

namespace tvmake {
namespace {

// Closes on scope exit; a mapping stays valid without its descriptor.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

std::string Folder(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : slash == 0 ? "/." : path.substr(0, slash);
}

[[noreturn]] void FailIo(const char* what, const std::string& path) {
  const int error = errno;
  throw Error(ErrorKind::kIo, Cat("cannot ", what, " ", Quoted(path), ": ", std::strerror(error)));
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat status;
  if (file.fd < 0 || fstat(file.fd, &status) != 0) FailIo("open", path);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::kIo, Cat("cannot open ", Quoted(path), ": not a regular file"));
  }
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0) return;
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) FailIo("map", path);
  bytes_ = {static_cast<const std::byte*>(data), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

bool FileExists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

std::string ImageFolder(const void* address) {
  Dl_info info;
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return "";
  return Folder(info.dli_fname);
}

std::string ProgramFolder() {
  char path[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  return size <= 0 ? "" : Folder(std::string(path, static_cast<size_t>(size)));
}

}  // namespace tvmake
