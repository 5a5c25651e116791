#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace netcl::ckpt {

enum class PickleKind : std::uint8_t {
  none,
  boolean,
  integer,
  big_integer,  ///< decimal text
  real,
  string,       ///< UTF-8, surrogates as three bytes each
  bytes,        ///< a range of the source, not read: bytes, bytearray, and Python 2's str
  byte_string,  ///< Python 2's str that is not ASCII, from text: a character for each byte
  list,
  tuple,
  set,
  frozenset,
  dict,
  global,      ///< module.name, never imported
  call,        ///< REDUCE, NEWOBJ, INST, OBJ …: what would be called, never is
  persistent,  ///< PERSID: torch's storages
};

/// Index of a node in its PickleGraph.
using PickleId = std::uint32_t;
inline constexpr PickleId kNoPickle = 0xffffffff;

struct PickleGlobal {
  std::string module;
  std::string name;
  std::uint64_t offset_bytes = 0;  ///< of the opcode that named it first
  bool called = false;
  bool result_called = false;  ///< what a call of it gave was called in turn
  std::string qualified() const { return module + "." + name; }
};

/// What a call was given, and what was done to its result.
struct PickleCall {
  PickleId callable = kNoPickle;
  std::uint32_t origin = kNoPickle;  ///< index of the global that is called, or whose result's … result is
  PickleId args = kNoPickle;         ///< a tuple, or whatever stood there
  PickleId kwargs = kNoPickle;       ///< of NEWOBJ_EX
  PickleId state = kNoPickle;        ///< of BUILD
  PickleId raw = kNoPickle;          ///< bytes that stood behind the BUILD and are no opcodes
};

/// What a pickle would build, as symbols: nothing in it has been imported or called.
/// Lifetime: spans and views are valid as long as the graph.
class PickleGraph {
 public:
  PickleId root = 0;
  std::uint64_t end_offset = 0;       ///< behind STOP
  std::vector<PickleGlobal> globals;  ///< all that were named, in order, used or not

  std::size_t size() const { return nodes_.size(); }
  PickleKind kind(PickleId id) const { return nodes_[id].kind; }
  bool boolean(PickleId id) const { return nodes_[id].data != 0; }
  std::int64_t integer(PickleId id) const { return static_cast<std::int64_t>(nodes_[id].data); }
  double real(PickleId id) const;
  std::string_view text(PickleId id) const;                             ///< of string, byte_string and big_integer
  bool is_python2(PickleId id) const { return nodes_[id].count != 0; }  ///< of bytes: they were Python 2's str
  struct Range {
    std::uint64_t offset_bytes;
    std::uint64_t size_bytes;
  };
  Range range(PickleId id) const { return ranges_[nodes_[id].data]; }
  const PickleGlobal& global(PickleId id) const { return globals[nodes_[id].data]; }
  const PickleCall& call(PickleId id) const { return calls_[nodes_[id].data].call; }
  PickleId persistent_id(PickleId id) const { return static_cast<PickleId>(nodes_[id].data); }

  /// The elements of list, tuple, set and frozenset; key, value, key, value … of a dict; what was
  /// appended to a call's result.
  std::vector<PickleId> items(PickleId id) const;
  /// key, value, … that were set in a call's result.
  std::vector<PickleId> pairs(PickleId id) const;

 private:
  friend class PickleMachine;
  struct Node {  // 16 bytes: a hostile pickle makes one for each of its bytes
    PickleKind kind = PickleKind::none;
    std::uint32_t count = 0;
    std::uint64_t data = 0;
  };
  struct Cell {
    PickleId value;
    std::uint32_t next;
  };
  struct Chain {
    std::uint32_t first = kNoPickle;
    std::uint32_t last = kNoPickle;
  };
  struct CallNode {
    PickleCall call;
    Chain items, pairs;
  };
  void append(Chain& chain, PickleId value);
  std::vector<PickleId> walk(std::uint32_t first) const;

  std::vector<Node> nodes_;
  std::vector<PickleId> tuple_items_;
  std::vector<Cell> cells_;    // of lists, sets, dicts and calls, which grow
  std::vector<Chain> chains_;  // of lists, sets and dicts
  std::vector<CallNode> calls_;
  std::vector<Range> ranges_;
  std::string text_;
};

}  // namespace netcl::ckpt
