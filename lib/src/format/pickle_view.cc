// What a node of a pickle is, for those that ask by meaning: its callable, its elements, its bytes. Chains of
// calls (a dict made of a dict made of a dict) are followed in loops: their length is the input's.
#include "format/pickle_view.h"

#include <algorithm>

#include "base/try.h"

namespace netcl::ckpt {

using Kind = PickleKind;

tl::unexpected<Error> bad_pickle(std::string_view what) { return fail(ErrorCode::corrupt, "{}", what); }

PickleView::PickleView(const PickleGraph& g, StoragePtr storage, const Limits& caps, bool script)
    : graph(g), payload(std::move(storage)), limits(caps), script_(script) {
  // What honest pickles need: each value is looked at a few times, each byte of text is copied twice.
  work_left_ = (std::uint64_t{1} << 20) + 16 * g.size() + payload->size_bytes() / 2;
}

const GlobalInfo& PickleView::info(const PickleGlobal& global) const {
  const auto index = static_cast<std::size_t>(&global - graph.globals.data());
  while (globals_.size() <= index) {
    const PickleGlobal& next = graph.globals[globals_.size()];
    globals_.push_back(classify(next, next.called, script_));
  }
  return globals_[index];
}

Meaning PickleView::meaning(PickleId id) const {
  if (id == kNoPickle || kind(id) != Kind::global) return Meaning::opaque;
  return info(graph.global(id)).meaning;
}

const PickleGlobal* PickleView::callable(PickleId call) const {
  PickleId id = graph.call(call).callable;
  if (kind(id) == Kind::persistent) id = wrapped_class(id);
  return id != kNoPickle && kind(id) == Kind::global ? &graph.global(id) : nullptr;
}

PickleId PickleView::wrapped_class(PickleId persistent) const {
  const PickleId described = graph.persistent_id(persistent);
  const auto parts = kind(described) == Kind::tuple ? items(described) : std::vector<PickleId>();
  if (parts.size() == 3 && kind(parts[0]) == Kind::global) return parts[0];
  const bool named = parts.size() > 1 && is_text(parts[0], "module") && kind(parts[1]) == Kind::global;
  return named ? parts[1] : kNoPickle;
}

Meaning PickleView::called(PickleId id) const {
  const PickleGlobal* global = kind(id) == Kind::call ? callable(id) : nullptr;
  return global == nullptr ? Meaning::opaque : info(*global).meaning;
}

std::vector<PickleId> PickleView::items(PickleId id) const {
  auto out = graph.items(id);
  pay(out.size() + 1);
  return spent() ? std::vector<PickleId>() : out;
}

std::vector<PickleId> PickleView::pairs(PickleId id) const {
  auto out = graph.pairs(id);
  pay(out.size() + 1);
  return spent() ? std::vector<PickleId>() : out;
}

std::string_view PickleView::text(PickleId id) const {
  const std::string_view out = graph.text(id);
  pay(out.size() / 8);
  return spent() ? std::string_view() : out;
}

std::vector<PickleId> PickleView::args(PickleId call) const {
  const PickleId given = graph.call(call).args;
  return kind(given) == Kind::tuple ? items(given) : std::vector<PickleId>();
}

bool PickleView::is_text(PickleId id, std::string_view wanted) const {
  return kind(id) == Kind::string && text(id) == wanted;
}

std::optional<std::uint64_t> PickleView::size(PickleId id) const {
  if (!is_integer(id) || graph.integer(id) < 0) return std::nullopt;
  return static_cast<std::uint64_t>(graph.integer(id));
}

bool PickleView::is_mapping(PickleId id) const {
  if (kind(id) == Kind::dict) return true;
  const Meaning m = called(id);
  return m == Meaning::ordered_dict || m == Meaning::default_dict || m == Meaning::mapping;
}

Result<std::vector<PickleId>> PickleView::mapping(PickleId id) const {
  // What is set in a dict comes behind what it was made of.
  std::vector<std::vector<PickleId>> layers;
  while (kind(id) != Kind::dict) {
    if (!is_mapping(id)) {
      if (kind(id) != Kind::list && kind(id) != Kind::tuple)
        return bad_pickle("a dict is made of something that is none");
      std::vector<PickleId> out;
      for (const PickleId p : items(id)) {
        const auto pair = kind(p) == Kind::list || kind(p) == Kind::tuple ? items(p) : std::vector<PickleId>();
        if (pair.size() != 2) return bad_pickle("a dict is made of something other than pairs");
        out.insert(out.end(), pair.begin(), pair.end());
      }
      layers.push_back(std::move(out));
      break;
    }
    layers.push_back(pairs(id));
    auto given = args(id);
    if (called(id) == Meaning::default_dict && !given.empty()) given.erase(given.begin());  // the factory
    if (given.empty()) break;
    if (given.size() > 1) return bad_pickle("a dict is made of more than one argument");
    id = given[0];
    if (spent()) break;
  }
  if (kind(id) == Kind::dict) layers.push_back(items(id));
  std::vector<PickleId> out;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer)
    out.insert(out.end(), layer->begin(), layer->end());
  return out;
}

Result<std::vector<PickleId>> PickleView::sequence(PickleId id) const {
  std::vector<std::vector<PickleId>> layers;
  while (!spent()) {
    const Kind k = kind(id);
    if (k == Kind::list || k == Kind::tuple || k == Kind::set || k == Kind::frozenset) {
      layers.push_back(items(id));
      break;
    }
    if (is_mapping(id)) {
      CKPT_TRY(const auto pairs, mapping(id));
      std::vector<PickleId> keys;
      for (std::size_t i = 0; i < pairs.size(); i += 2) keys.push_back(pairs[i]);
      layers.push_back(std::move(keys));
      break;
    }
    const Meaning m = called(id);
    if (m != Meaning::list && m != Meaning::tuple && m != Meaning::set && m != Meaning::frozenset &&
        m != Meaning::deque && m != Meaning::size)
      return fail(ErrorCode::unsupported, "a sequence is made of something that is none");
    layers.push_back(items(id));
    const auto given = args(id);
    if (given.empty()) break;
    if (given.size() > (m == Meaning::deque ? 2U : 1U)) return bad_pickle("a sequence is made of too many arguments");
    id = given[0];
  }
  std::vector<PickleId> out;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer)
    out.insert(out.end(), layer->begin(), layer->end());
  return out;
}

std::vector<PickleId> PickleView::attributes(PickleId state) const {
  if (state == kNoPickle) return {};
  if (is_mapping(state)) return mapping(state).value_or(std::vector<PickleId>());
  std::vector<PickleId> out;
  if (kind(state) != Kind::tuple) return out;
  for (const PickleId part : items(state)) {
    if (kind(part) == Kind::none) continue;
    if (!is_mapping(part)) return {};
    const auto pairs = mapping(part).value_or(std::vector<PickleId>());
    out.insert(out.end(), pairs.begin(), pairs.end());
  }
  return out;
}

PickleId PickleView::find(const std::vector<PickleId>& pairs, std::string_view key) const {
  PickleId found = kNoPickle;
  pay(pairs.size());
  for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
    if (is_text(pairs[i], key)) found = pairs[i + 1];
  }
  return found;
}

Result<std::string> PickleView::latin1_bytes(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto b = static_cast<std::uint8_t>(text[i]);
    if (b < 0x80) {
      out += text[i];
    } else if ((b == 0xc2 || b == 0xc3) && i + 1 < text.size()) {
      out += static_cast<char>(((b & 3) << 6) | (static_cast<std::uint8_t>(text[++i]) & 0x3f));
    } else {
      return bad_pickle("a text is meant to be bytes and holds other characters");
    }
  }
  return out;
}

Result<std::string> PickleView::encoded_bytes(PickleId call) const {
  const auto given = args(call);
  if (given.empty() || given.size() > 2 || kind(given[0]) != Kind::string)
    return bad_pickle("_codecs.encode of something that is no text");
  if (given.size() == 2 && !is_text(given[1], "latin1") && !is_text(given[1], "latin-1"))
    return bad_pickle("_codecs.encode into something other than latin1");
  return latin1_bytes(text(given[0]));
}

Result<std::string> PickleView::read(PickleGraph::Range range) const {
  std::string out(range.size_bytes, '\0');
  CKPT_TRY(auto reader, payload->open());
  CKPT_CHECK(reader->read(range.offset_bytes, std::as_writable_bytes(std::span(out))));
  return out;
}

Result<PickleView::Bytes> PickleView::bytes(PickleId id) const {
  // bytearray(bytes) and bytearray(text, 'latin-1')
  while (called(id) == Meaning::bytes) {
    const auto given = args(id);
    if (given.size() > 2 || spent()) return bad_pickle("an array's data are no bytes");
    if (given.empty()) return Bytes{payload, 0, 0};
    id = given[0];
  }
  if (kind(id) == Kind::bytes) {
    const auto range = graph.range(id);
    return Bytes{payload, range.offset_bytes, range.size_bytes};
  }
  std::string out;
  if (kind(id) == Kind::string || kind(id) == Kind::byte_string) {
    CKPT_TRY(out, latin1_bytes(text(id)));
  } else if (called(id) == Meaning::encode) {
    CKPT_TRY(out, encoded_bytes(id));
  } else {
    return bad_pickle("an array's data are no bytes");
  }
  const auto view = std::as_bytes(std::span(out));
  return Bytes{file_storage(memory_source({view.begin(), view.end()}, "pickle text"), 0, out.size()), 0, out.size()};
}

}  // namespace netcl::ckpt
