#include "netcl/ckpt/diff.h"

#include <atomic>
#include <cmath>
#include <limits>

#include "base/endian.h"
#include "catch.h"
#include "codec/deflate.h"
#include "netcl/ckpt/open.h"
#include "sample.h"

namespace netcl::ckpt {
namespace {

Tensor floats(const std::vector<float>& values) { return tensor_of(values, ScalarType::float32); }

DiffReport diff_of(const Checkpoint& a, const Checkpoint& b, const DiffOptions& options = {}) {
  auto report = diff(a, b, options);
  REQUIRE(report);
  return std::move(*report);
}

/// "name change" of each tensor that is not the same, and "path: a -> b" of each value.
std::vector<std::string> lines_of(const DiffReport& report) {
  std::vector<std::string> out;
  for (const TensorDiff& t : report.tensors) {
    if (t.change != TensorChange::same) out.push_back(t.name + " " + to_string(t.change));
  }
  for (const MetadataDiff& m : report.metadata) {
    out.push_back(m.path + ": " + m.a.value_or("-") + " -> " + m.b.value_or("-"));
  }
  return out;
}

using Lines = std::vector<std::string>;

/// A checkpoint whose root `build` makes.
template <class Build>
Checkpoint tree_of(Build build) {
  Checkpoint c;
  c.attributes = c.tree.add_dict({});
  c.root = build(c.tree);
  return c;
}

ValueId dict_of(Tree& tree, const std::vector<std::pair<std::string, ValueId>>& items) {
  std::vector<Tree::Entry> entries;
  for (const auto& [key, value] : items) entries.push_back({tree.add_string(key), value});
  return tree.add_dict(entries);
}

/// Counts what is read of the storage behind it.
class CountedSource final : public ByteSource {
 public:
  CountedSource(SourcePtr source, std::optional<FileId> id = {}) : source_(std::move(source)), id_(id) {}
  std::uint64_t size_bytes() const override { return source_->size_bytes(); }
  const std::string& name() const override { return source_->name(); }
  std::optional<FileId> file_id() const override { return id_; }
  Result<void> read_at(std::uint64_t offset_bytes, std::span<std::byte> dst) const override {
    read_bytes += dst.size();
    return source_->read_at(offset_bytes, dst);
  }
  mutable std::atomic<std::uint64_t> read_bytes = 0;

 private:
  SourcePtr source_;
  std::optional<FileId> id_;
};

std::shared_ptr<CountedSource> counted(const std::vector<float>& values, std::optional<FileId> id = {}) {
  const auto bytes = std::as_bytes(std::span(values));
  return std::make_shared<CountedSource>(memory_source({bytes.begin(), bytes.end()}, "counted"), id);
}

Tensor over(const SourcePtr& source) {
  Tensor t;
  t.dtype = make_dtype(ScalarType::float32);
  t.shape = {source->size_bytes() / 4};
  t.strides = {1};
  t.storage = file_storage(source, 0, source->size_bytes());
  return t;
}

}  // namespace

TEST_CASE("diff: pairs tensors by name", "[report]") {
  const Checkpoint a = checkpoint_of({{"same", floats({1, 2})},
                                      {"values", floats({1, 2})},
                                      {"gone", floats({1})},
                                      {"shape", floats({1, 2})},
                                      {"dtype", floats({1})}});
  const Checkpoint b = checkpoint_of({{"new", floats({1})},
                                      {"values", floats({1, 3})},
                                      {"same", floats({1, 2})},
                                      {"shape", floats({1, 2, 3})},
                                      {"dtype", tensor_of<double>({1}, ScalarType::float64)}});
  const DiffReport report = diff_of(a, b);
  CHECK(lines_of(report) == Lines{"values values", "gone only-in-a", "shape shape", "dtype dtype", "new only-in-b"});
  CHECK(report.differs);
  CHECK(report.complete());
  CHECK(report.count(TensorChange::same) == 1);
  const TensorDiff& t = report.tensors[1];
  CHECK(t.differing == 1);
  CHECK(t.num_elements == 2);
  REQUIRE(t.figures);
  CHECK(t.figures->max_abs->value == 1);
  CHECK(t.figures->max_abs->index == 1);
  CHECK(static_cast<double>(t.figures->max_rel->value) == Approx(1.0 / 3));
  CHECK(t.figures->rms == Approx(std::sqrt(0.5)));
  CHECK(*t.figures->cosine == Approx(7 / std::sqrt(50.0)));
  CHECK(*t.figures->moved == Approx(1 / std::sqrt(5.0)));
}

TEST_CASE("diff: a checkpoint is the same as itself, whatever it holds", "[report]") {
  DType big = make_dtype(ScalarType::float32);
  big.big_endian = true;
  Tensor object;
  object.dtype = make_dtype(ScalarType::object);
  object.shape = {1};
  const Checkpoint a = checkpoint_of({{"scalar", tensor_of<float>({1}, make_dtype(ScalarType::float32), {})},
                                      {"empty", floats({})},
                                      {"nan", floats({std::numeric_limits<float>::quiet_NaN()})},
                                      {"big", tensor_of<std::uint32_t>({0x0000803f}, big, {1})},
                                      {"", floats({1})}});
  CHECK_FALSE(diff_of(a, a).differs);
  CHECK(lines_of(diff_of(a, a, {.equal_nan = false})) == Lines{"nan values"});
  const Checkpoint other = checkpoint_of({{"big", floats({1})}});
  CHECK_FALSE(diff_of(a, other, {.include = {"big"}}).differs);

  const Checkpoint objects = checkpoint_of({{"object", object}});
  const DiffReport report = diff_of(objects, objects);
  CHECK_FALSE(report.differs);
  CHECK_FALSE(report.complete());
  CHECK(lines_of(report) == Lines{"object not-comparable"});
}

TEST_CASE("diff: large tensors in parts, streams and other orders give the same figures", "[report]") {
  const std::uint64_t rows = 3000, columns = 1000;
  std::vector<float> x(rows * columns), y;
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 997) - 400;
  y = x;
  for (std::size_t i = 7; i < y.size() / 2; i += 1009) y[i] += 0.25f * static_cast<float>(i % 5);
  y[2'500'000] = 5000;
  const Tensor a = tensor_of(x, make_dtype(ScalarType::float32), {rows, columns});
  const Tensor b = tensor_of(y, make_dtype(ScalarType::float32), {rows, columns});
  std::vector<float> turned(x.size());
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) turned[j * rows + i] = x[i * columns + j];
  }
  Tensor fortran = tensor_of(turned, make_dtype(ScalarType::float32), {rows, columns});
  fortran.strides = f_strides(fortran.shape);
  const Tensor transposed = tensor_of(turned, make_dtype(ScalarType::float32), {columns, rows});

  const DiffReport want = diff_of(checkpoint_of({{"w", a}}), checkpoint_of({{"w", b}}), {.run = {.jobs = 1}});
  REQUIRE(want.tensors[0].figures);
  CHECK(want.tensors[0].figures->max_abs->index == 2'500'000);
  const auto check_same = [&](const DiffReport& got) {
    const DiffFigures &f = *got.tensors[0].figures, &w = *want.tensors[0].figures;
    CHECK(got.tensors[0].differing == want.tensors[0].differing);
    CHECK(f.max_abs->value == w.max_abs->value);
    CHECK(f.max_abs->index == w.max_abs->index);
    CHECK(f.max_rel->index == w.max_rel->index);
    CHECK(f.max_ulp == w.max_ulp);
    CHECK(f.rms == Approx(w.rms).epsilon(1e-14));
    CHECK(*f.cosine == Approx(*w.cosine).epsilon(1e-14));
    CHECK(*f.moved == Approx(*w.moved).epsilon(1e-14));
  };
  const DiffReport parallel = diff_of(checkpoint_of({{"w", a}}), checkpoint_of({{"w", b}}));
  check_same(parallel);
  CHECK(parallel.tensors[0].figures->rms == want.tensors[0].figures->rms);
  CHECK(*parallel.tensors[0].figures->cosine == *want.tensors[0].figures->cosine);
  check_same(diff_of(checkpoint_of({{"w", fortran}}), checkpoint_of({{"w", b}})));
  check_same(diff_of(checkpoint_of({{"w", transposed}}), checkpoint_of({{"w", b}}), {.transpose = {"w"}}));
  CHECK(lines_of(diff_of(checkpoint_of({{"w", transposed}}), checkpoint_of({{"w", b}}))) == Lines{"w shape"});
}

TEST_CASE("diff: a shape never broadcasts", "[report]") {
  const Tensor row = tensor_of<float>({1, 1}, make_dtype(ScalarType::float32), {1, 2});
  const Tensor one = tensor_of<float>({1, 1}, make_dtype(ScalarType::float32), {2});
  CHECK(lines_of(diff_of(checkpoint_of({{"w", row}}), checkpoint_of({{"w", one}}))) == Lines{"w shape"});
}

TEST_CASE("diff: options", "[report]") {
  const Checkpoint a = checkpoint_of({{"module.w", floats({1, 2})}, {"module.b", floats({1})}});
  const Checkpoint b = checkpoint_of({{"w", floats({1, 2.5})}, {"b", floats({1})}});
  const std::vector<std::pair<std::string, std::string>> map = {{"^module\\.", ""}};
  CHECK(lines_of(diff_of(a, b, {.map = map})) == Lines{"w values"});
  CHECK(diff_of(a, b, {.map = map}).tensors[0].a->name == "module.w");
  CHECK(lines_of(diff_of(a, b, {.map = map, .exclude = {"w"}})).empty());
  CHECK(lines_of(diff_of(a, b, {.map = map, .include = {"b"}})).empty());
  CHECK(lines_of(diff_of(a, b, {.rtol = 0.2, .map = map})).empty());
  CHECK(lines_of(diff_of(a, b, {.rtol = 0.19, .map = map})) == Lines{"w values"});
  CHECK(lines_of(diff_of(a, b, {.atol = 0.5, .map = map})).empty());
  CHECK(lines_of(diff_of(a, b, {.ulp = 1 << 22, .map = map})).empty());
  CHECK(diff_of(a, b, {.map = map, .brief = true}).differs);
  const DiffReport listed = diff_of(a, b, {.map = map, .max_elements = 5});
  REQUIRE(listed.tensors[0].elements.size() == 1);
  CHECK(listed.tensors[0].elements[0].index == 1);
  CHECK(listed.tensors[0].elements[0].a == "2.0");
  CHECK(listed.tensors[0].elements[0].b == "2.5");
  const DiffReport binned = diff_of(a, b, {.map = map, .histogram = true});
  REQUIRE(binned.tensors[0].figures->histogram);
  CHECK((*binned.tensors[0].figures->histogram)[12] == 1);

  const Checkpoint wide = checkpoint_of({{"w", tensor_of<double>({1, 2.5}, ScalarType::float64)}});
  CHECK(lines_of(diff_of(b, wide, {.include = {"w"}})) == Lines{"w dtype"});
  CHECK(lines_of(diff_of(b, wide, {.ignore_dtype = true, .include = {"w"}})).empty());

  const Checkpoint c = checkpoint_of({{"model.w", floats({1})}, {"optimizer.m.w", floats({1})}});
  const Checkpoint d = checkpoint_of({{"model.w", floats({2})}, {"optimizer.m.w", floats({2})}});
  CHECK(lines_of(diff_of(c, d, {.scope = DiffScope::model})) == Lines{"model.w values"});
  CHECK(lines_of(diff_of(c, d, {.scope = DiffScope::optimizer})) == Lines{"optimizer.m.w values"});
  CHECK(lines_of(diff_of(c, d, {.scope = DiffScope::metadata})).empty());
}

TEST_CASE("diff: refuses options that contradict each other", "[report]") {
  const Checkpoint a = checkpoint_of({});
  for (const DiffOptions& options :
       {DiffOptions{.rtol = -1}, DiffOptions{.atol = std::numeric_limits<double>::quiet_NaN()},
        DiffOptions{.atol = 1, .ulp = 1}, DiffOptions{.rtol = 1, .bitwise = true},
        DiffOptions{.bitwise = true, .ignore_dtype = true}, DiffOptions{.map = {{"(", ""}}}}) {
    const auto report = diff(a, a, options);
    REQUIRE_FALSE(report);
    CHECK(report.error().code == ErrorCode::invalid_argument);
  }
}

TEST_CASE("diff: reads nothing of what lies in the same place of the same file", "[report]") {
  const std::vector<float> values(100'000, 1.0f);
  const auto x = counted(values, FileId{1, 2}), y = counted(values, FileId{1, 2}), z = counted(values, FileId{1, 3});
  CHECK_FALSE(diff_of(checkpoint_of({{"w", over(x)}}), checkpoint_of({{"w", over(y)}})).differs);
  CHECK(x->read_bytes + y->read_bytes == 0);
  CHECK_FALSE(diff_of(checkpoint_of({{"w", over(x)}}), checkpoint_of({{"w", over(z)}})).differs);
  CHECK(x->read_bytes == 400'000);
  CHECK(z->read_bytes == 400'000);
}

TEST_CASE("diff: a payload that cannot be read is said so, and is no difference", "[report]") {
  Tensor cut = floats({1, 2});
  cut.shape = {1000};
  cut.strides = {1};
  const DiffReport report = diff_of(checkpoint_of({{"cut", cut}, {"w", floats({1})}}),
                                    checkpoint_of({{"cut", floats(std::vector<float>(1000))}, {"w", floats({1})}}));
  CHECK(lines_of(report) == Lines{"cut unreadable"});
  CHECK(report.tensors[0].error->code == ErrorCode::corrupt);
  CHECK_FALSE(report.differs);
  CHECK_FALSE(report.complete());
}

TEST_CASE("diff: names that repeat are paired in order", "[report]") {
  const Checkpoint a = checkpoint_of({{"w", floats({1})}, {"w", floats({2})}});
  const Checkpoint b = checkpoint_of({{"w", floats({1})}, {"w", floats({3})}, {"w", floats({4})}});
  CHECK(lines_of(diff_of(a, b)) == Lines{"w values", "w only-in-b"});
}

TEST_CASE("diff: refuses what would need a pickle's globals, unless tensors alone are asked for", "[report]") {
  Checkpoint a = checkpoint_of({{"w", floats({1})}});
  const Checkpoint b = checkpoint_of({{"w", floats({1})}});
  a.problems.push_back({ProblemCode::unsafe_global, Severity::unsafe, "", 0, "os.system (not executed)", "os.system"});
  for (const bool swapped : {false, true}) {
    const auto report = swapped ? diff(b, a) : diff(a, b);
    REQUIRE_FALSE(report);
    CHECK(report.error().code == ErrorCode::unsafe);
    CHECK(report.error().message.find("os.system") != std::string::npos);
  }
  CHECK(diff(a, b, {.scope = DiffScope::model}));
}

TEST_CASE("diff: values that are no tensors", "[report]") {
  const auto build = [](Tree& t, std::int64_t epoch, double lr, const char* name, bool extra) {
    std::vector<std::pair<std::string, ValueId>> items = {
        {"epoch", t.add_integer(epoch)},
        {"w", t.add_tensor(tensor_of<float>({1}, ScalarType::float32))},
        {"optimizer", dict_of(t, {{"lr", t.add_real(lr)}, {"name", t.add_string(name)}})}};
    if (extra) items.push_back({"extra", dict_of(t, {{"x", t.add_none()}, {"y", t.add_none()}})});
    return dict_of(t, items);
  };
  const Checkpoint a = tree_of([&](Tree& t) { return build(t, 1, 0.1, "adam", true); });
  const Checkpoint b = tree_of([&](Tree& t) { return build(t, 2, 0.11, "sgd", false); });
  CHECK(lines_of(diff_of(a, a)).empty());
  CHECK(lines_of(diff_of(a, b)) == Lines{"epoch: 1 -> 2", "optimizer.lr: 0.1 -> 0.11",
                                         "optimizer.name: 'adam' -> 'sgd'", "extra: a dict of 2 -> -"});
  CHECK(lines_of(diff_of(a, b, {.rtol = 1})) == Lines{"optimizer.name: 'adam' -> 'sgd'", "extra: a dict of 2 -> -"});
  CHECK(lines_of(diff_of(a, b, {.include = {"extra.x", "epoch"}})) == Lines{"epoch: 1 -> 2", "extra.x: None -> -"});
  CHECK(lines_of(diff_of(a, b, {.exclude = {"extra*", "optimizer*", "epoch"}})).empty());
  CHECK(lines_of(diff_of(a, b, {.scope = DiffScope::model})).empty());
  CHECK(diff_of(a, b).num_metadata == 4);
}

TEST_CASE("diff: formats that know fewer kinds do not make a difference", "[report]") {
  const Checkpoint a = tree_of([](Tree& t) {
    return dict_of(t, {{"betas", t.add_sequence(ValueKind::tuple, std::vector{t.add_real(0.9), t.add_integer(1)})},
                       {"seed", t.add_big_integer("36893488147419103232")},
                       {"lr", t.add_scalar(tensor_of<double>({0.1}, make_dtype(ScalarType::float64), {}))}});
  });
  const Checkpoint b = tree_of([](Tree& t) {
    return dict_of(t, {{"lr", t.add_real(0.1)},
                       {"seed", t.add_big_integer("36893488147419103232")},
                       {"betas", t.add_sequence(ValueKind::list, std::vector{t.add_real(0.9), t.add_real(1)})}});
  });
  CHECK(lines_of(diff_of(a, b)).empty());
  const Checkpoint narrow = tree_of([](Tree& t) {
    return dict_of(t, {{"lr", t.add_scalar(tensor_of<float>({0.1f}, make_dtype(ScalarType::float32), {}))}});
  });
  CHECK(lines_of(diff_of(narrow, b, {.include = {"lr"}})) == Lines{"lr: 0.10000000149011612 -> 0.1"});
}

TEST_CASE("diff: kinds that are not the same", "[report]") {
  const auto one = [](auto make) { return tree_of([&](Tree& t) { return dict_of(t, {{"x", make(t)}}); }); };
  std::vector<Checkpoint> all;
  all.push_back(one([](Tree& t) { return t.add_none(); }));
  all.push_back(one([](Tree& t) { return t.add_boolean(true); }));
  all.push_back(one([](Tree& t) { return t.add_integer(1); }));
  all.push_back(one([](Tree& t) { return t.add_string("1"); }));
  all.push_back(one([](Tree& t) { return t.add_bytes("1"); }));
  all.push_back(one([](Tree& t) { return t.add_name("torch.float32"); }));
  all.push_back(one([](Tree& t) { return t.add_string("torch.float32"); }));
  all.push_back(one([](Tree& t) { return t.add_complex(1, 0); }));
  all.push_back(one([](Tree& t) { return t.add_dict({}); }));
  all.push_back(one([](Tree& t) { return t.add_sequence(ValueKind::list, {}); }));
  all.push_back(one([](Tree& t) { return t.add_sequence(ValueKind::set, {}); }));
  all.push_back(one([](Tree& t) { return t.add_opaque("a.b", {}); }));
  all.push_back(one([](Tree& t) { return t.add_opaque("a.c", {}); }));
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < all.size(); ++j) {
      CAPTURE(i, j);
      CHECK(diff_of(all[i], all[j]).differs == (i != j));
    }
  }
}

TEST_CASE("diff: sets have no order", "[report]") {
  const auto set = [](std::vector<const char*> items) {
    return tree_of([&](Tree& t) {
      std::vector<ValueId> ids;
      for (const char* item : items) ids.push_back(t.add_string(item));
      return dict_of(t, {{"s", t.add_sequence(ValueKind::set, ids)}});
    });
  };
  CHECK(lines_of(diff_of(set({"a", "b"}), set({"b", "a"}))).empty());
  CHECK(lines_of(diff_of(set({"a", "b"}), set({"b", "c"}))) == Lines{"s.'a': 'a' -> -", "s.'c': - -> 'c'"});
}

TEST_CASE("diff: a value in the place of a tensor", "[report]") {
  const Checkpoint a = tree_of([](Tree& t) { return dict_of(t, {{"bias", t.add_none()}}); });
  const Checkpoint b = checkpoint_of({{"bias", floats({1})}});
  CHECK(lines_of(diff_of(a, b)) == Lines{"bias only-in-b", "bias: None -> -"});
}

TEST_CASE("diff: metadata that shares, nests and contains itself", "[report][hostile]") {
  SECTION("a list in itself") {
    const auto cyclic = [](std::int64_t number) {
      return tree_of([&](Tree& t) {
        const ValueId list = t.reserve();
        t.define_sequence(list, ValueKind::list, std::vector{t.add_integer(number), list});
        return dict_of(t, {{"a", list}});
      });
    };
    CHECK(lines_of(diff_of(cyclic(1), cyclic(1))).empty());
    CHECK(lines_of(diff_of(cyclic(1), cyclic(2))) == Lines{"a.0: 1 -> 2"});
  }
  SECTION("2**60 leaves through 60 shared pairs") {
    const auto shared = [](std::int64_t number) {
      return tree_of([&](Tree& t) {
        ValueId node = t.add_integer(number);
        for (int i = 0; i < 60; ++i) node = t.add_sequence(ValueKind::list, std::vector{node, node});
        return dict_of(t, {{"a", node}});
      });
    };
    CHECK(lines_of(diff_of(shared(1), shared(1))).empty());
    CHECK(diff_of(shared(1), shared(2)).differs);
  }
  SECTION("a hundred thousand lists deep") {
    const auto deep = [](std::int64_t number) {
      return tree_of([&](Tree& t) {
        ValueId node = t.add_integer(number);
        for (int i = 0; i < 100'000; ++i) node = t.add_sequence(ValueKind::list, std::vector{node});
        return dict_of(t, {{"a", node}});
      });
    };
    CHECK(lines_of(diff_of(deep(1), deep(1))).empty());
    CHECK(diff_of(deep(1), deep(2)).num_metadata == 1);
  }
  SECTION("every list meets every other") {
    // Of one length each, so that they are paired; of different rows, so that each pair is new.
    const auto rows = [](std::size_t count, std::size_t width, std::size_t step) {
      return tree_of([&](Tree& t) {
        std::vector<ValueId> lists(count);
        for (ValueId& list : lists) list = t.reserve();
        for (std::size_t i = 0; i < count; ++i) {
          std::vector<ValueId> items;
          for (std::size_t j = 0; j < width; ++j) items.push_back(lists[(i * step + j) % count]);
          t.define_sequence(lists[i], ValueKind::list, items);
        }
        return dict_of(t, {{"a", lists[0]}});
      });
    };
    const auto report = diff(rows(3000, 30, 7), rows(2999, 30, 11));
    REQUIRE_FALSE(report);
    CHECK(report.error().code == ErrorCode::limit_exceeded);
  }
  SECTION("a megabyte of text a hundred thousand times") {
    const auto texts = [](char last) {
      return tree_of([&](Tree& t) {
        const ValueId text = t.add_string(std::string(1 << 20, 'x') + last);
        return dict_of(t, {{"a", t.add_sequence(ValueKind::list, std::vector(100'000, text))}});
      });
    };
    CHECK(lines_of(diff_of(texts('a'), texts('a'))).empty());
    CHECK(diff_of(texts('a'), texts('b')).num_metadata == 1);
  }
}

}  // namespace netcl::ckpt
