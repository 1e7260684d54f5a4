// Files and folders, as far as loading weights needs them.
#ifndef TVMAKE_FILE_H_
#define TVMAKE_FILE_H_

#include <cstddef>
#include <span>
#include <string>

namespace tvmake {

// A whole file, mapped read-only: processes that run the same model share its pages.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);  // throws Error(kIo)
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

bool FileExists(const std::string& path);

// The folder of the program or shared library that contains `address`; empty when unknown.
std::string ImageFolder(const void* address);

// The folder of the running program; empty when unknown.
std::string ProgramFolder();

}  // namespace tvmake

#endif  // TVMAKE_FILE_H_
