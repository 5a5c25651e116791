// The nodes of a pickle's graph. Lists, sets, dicts and calls grow while it is read: they are chains of cells in one
// arena.
#include "container/pickle_graph.h"

#include <bit>
#include <span>

namespace netcl::ckpt {

double PickleGraph::real(PickleId id) const { return std::bit_cast<double>(nodes_[id].data); }

std::string_view PickleGraph::text(PickleId id) const {
  return std::string_view(text_).substr(nodes_[id].data, nodes_[id].count);
}

void PickleGraph::append(Chain& chain, PickleId value) {
  const auto cell = static_cast<std::uint32_t>(cells_.size());
  cells_.push_back({value, kNoPickle});
  if (chain.first == kNoPickle) {
    chain.first = cell;
  } else {
    cells_[chain.last].next = cell;
  }
  chain.last = cell;
}

std::vector<PickleId> PickleGraph::walk(std::uint32_t first) const {
  std::vector<PickleId> out;
  for (std::uint32_t c = first; c != kNoPickle; c = cells_[c].next) out.push_back(cells_[c].value);
  return out;
}

std::vector<PickleId> PickleGraph::items(PickleId id) const {
  const Node& n = nodes_[id];
  switch (n.kind) {
    case PickleKind::tuple:
    case PickleKind::frozenset: {
      const auto first = tuple_items_.begin() + static_cast<std::ptrdiff_t>(n.data);
      return {first, first + n.count};
    }
    case PickleKind::list:
    case PickleKind::set:
    case PickleKind::dict: return walk(chains_[n.data].first);
    case PickleKind::call: return walk(calls_[n.data].items.first);
    default: return {};
  }
}

std::vector<PickleId> PickleGraph::pairs(PickleId id) const {
  return nodes_[id].kind == PickleKind::call ? walk(calls_[nodes_[id].data].pairs.first) : std::vector<PickleId>();
}

}  // namespace netcl::ckpt
