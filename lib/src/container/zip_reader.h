#pragma once

#include <cstdint>
#include <memory>

#include "container/zip_directory.h"
#include "netcl/ckpt/error.h"
#include "netcl/ckpt/storage.h"

namespace netcl::ckpt {

/// True where this build of libzip decodes `method` (bzip2, lzma, zstd, xz).
bool libzip_decodes(std::uint16_t method);

/// Reads a member of such a method through libzip, which also checks the CRC.
/// Errors: corrupt, io, out_of_memory.
Result<std::unique_ptr<StorageReader>> open_with_libzip(const StoredForm& form, const ZipMember& member);

}  // namespace netcl::ckpt
