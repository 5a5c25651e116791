#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/pickle_globals.h"
#include "netcl/ckpt/limits.h"
#include "netcl/ckpt/storage.h"

namespace netcl::ckpt {

/// A pickle's graph together with what its globals mean, and the means to look at it: parts may be shared, so a
/// megabyte of calls can ask for a million looks at each of a million elements. Every look is paid for; where the
/// means end, nothing more is given, and whoever walks the graph stops.
/// Lifetime: that of the graph and the limits.
class PickleView {
 public:
  PickleView(const PickleGraph& graph, StoragePtr payload, const Limits& limits, bool script);

  const PickleGraph& graph;
  const StoragePtr payload;  ///< what the graph's ranges are ranges of
  const Limits& limits;

  PickleKind kind(PickleId id) const { return graph.kind(id); }
  bool spent() const { return work_left_ == 0; }

  Meaning meaning(PickleId id) const;  ///< of a global; opaque for any other node
  Meaning called(PickleId id) const;   ///< of what a call calls; opaque for any other node
  /// What a call calls, also where torch's legacy files wrap a class in a persistent id; null for a call's result.
  const PickleGlobal* callable(PickleId call) const;

  /// The class that a persistent id stands for: ('module', class, file, source), in torch's tar without the word.
  /// kNoPickle, where it is for something else.
  PickleId wrapped_class(PickleId persistent) const;

  std::vector<PickleId> items(PickleId id) const;
  std::vector<PickleId> pairs(PickleId id) const;
  std::vector<PickleId> args(PickleId call) const;
  std::string_view text(PickleId id) const;
  bool is_text(PickleId id, std::string_view wanted) const;
  bool is_integer(PickleId id) const { return kind(id) == PickleKind::integer; }
  /// An integer that is a size; nothing for any other node.
  std::optional<std::uint64_t> size(PickleId id) const;

  /// key, value, key, value … of a dict or of a call that makes one. Errors: corrupt, where it is none.
  Result<std::vector<PickleId>> mapping(PickleId id) const;
  bool is_mapping(PickleId id) const;
  /// The elements of a list, tuple or set, or of a call that makes one. Errors: unsupported, where it is none.
  Result<std::vector<PickleId>> sequence(PickleId id) const;
  /// key, value, … of the attributes that a state gives: a dict, or a tuple of dicts or None.
  std::vector<PickleId> attributes(PickleId state) const;
  /// The value under a text key of `pairs`, the last one if there are several; kNoPickle.
  PickleId find(const std::vector<PickleId>& pairs, std::string_view key) const;

  /// Where bytes are: a range of the payload, or text that stands for bytes.
  struct Bytes {
    StoragePtr storage;
    std::uint64_t offset_bytes = 0;
    std::uint64_t size_bytes = 0;
  };
  /// Errors: corrupt, where they are no bytes.
  Result<Bytes> bytes(PickleId id) const;
  /// Those of a text whose characters are bytes. Errors: corrupt.
  static Result<std::string> latin1_bytes(std::string_view text);
  /// Of the call of _codecs.encode.
  Result<std::string> encoded_bytes(PickleId call) const;
  Result<std::string> read(PickleGraph::Range range) const;

  void pay(std::uint64_t elements) const { work_left_ -= std::min(work_left_, elements); }

 private:
  const GlobalInfo& info(const PickleGlobal& global) const;

  bool script_;
  mutable std::vector<GlobalInfo> globals_;  // of the first globals: those that were asked for, and all before
  mutable std::uint64_t work_left_ = 0;
};

/// "corrupt" with this text.
tl::unexpected<Error> bad_pickle(std::string_view what);

}  // namespace netcl::ckpt
