// The library's face: plain C functions, called by ctypes. Every index and size is checked here, once.
#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>

#include "interpreter.h"
#include "pack.h"
#include "top.h"

#if defined(_WIN32)
#define OPENBOOK_API extern "C" __declspec(dllexport)
#else
#define OPENBOOK_API extern "C" __attribute__((visibility("default")))
#endif

namespace openbook {
namespace {

constexpr int VERSION = 4;
constexpr int CHUNK = 256;        // tokens of a prompt that pass through at once
constexpr int SOURCE_CHUNK = 1024;  // tokens of sources that are read at once; a longer source alone

thread_local std::string last_error;

struct Model {
  Model(const Kernels* chosen, int thread_count, bool half) : kernels(chosen), threads(thread_count), half_cache(half) {}
  const Kernels* kernels;
  Threads threads;
  bool half_cache;  // keys and values in float16
  Program program;
  std::vector<Plain> plains;  // matrices before they are packed
  bool packed = false;
  Scratch scratch;
  std::mutex running;  // one pass at a time: sessions of several threads take turns
};

struct Session {
  explicit Session(Model* opened) : model(opened) {}
  Model* model;
  std::vector<std::unique_ptr<Row>> rows;
  bool closed = false;  // a pass broke off: its rows are neither as before nor as after
};

void check(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

// Run a function that may throw; 0 if it did not, else 1, and `openbook_error` says why.
template <typename Function>
int guarded(Function function) {
  try {
    function();
    return 0;
  } catch (const std::bad_alloc&) {
    last_error = "out of memory";
  } catch (const std::exception& error) {
    last_error = error.what();
  }
  return 1;
}

template <typename T>
void copy(const T* items, int count, std::vector<T>& to) {
  check(count >= 0 && count < (1 << 20), "too many parts");
  to.assign(items, items + count);
}

class Checker {
 public:
  explicit Checker(const Program& program) : program_(program) {}

  void check_all() const {
    for (const Norm& norm : program_.norms) check(norm.kind >= 0 && norm.kind <= 2, "norm kind");
    for (const Rotary& rotary : program_.rotaries)
      check(rotary.half > 0 && (rotary.dynamic || vector_of(rotary.frequencies) == size_t(rotary.half)), "rotary frequencies");
    for (const Attention& attention : program_.attentions) check_attention(attention);
    for (const Experts& experts : program_.experts) check_experts(experts);
    for (const Op& op : program_.decoder) check_op(op, false);
    for (const Op& op : program_.encoder) check_op(op, true);
  }

 private:
  size_t vector_of(int index) const {
    check(index >= 0 && index < int(program_.vectors.size()), "no such vector");
    return program_.vectors[index].size();
  }
  int width(int reg) const {
    check(reg >= 0 && reg < int(program_.widths.size()), "no such register");
    return program_.widths[reg];
  }
  const Matrix& matrix(int index) const {
    check(index >= 0 && index < int(program_.matrices.size()), "no such matrix");
    return program_.matrices[index];
  }
  void check_norm(int index, int wide) const {
    if (index < 0) return;
    check(index < int(program_.norms.size()), "no such norm");
    const Norm& norm = program_.norms[index];
    check(norm.weight < 0 || vector_of(norm.weight) == size_t(wide), "norm width");
    check(norm.bias < 0 || vector_of(norm.bias) == size_t(wide), "norm bias width");
  }
  void check_product(int index, int bias, int inputs, int outputs) const {
    const Matrix& it = matrix(index);
    check(it.inputs == inputs && it.outputs == outputs, "matrix does not fit its registers");
    check(bias < 0 || vector_of(bias) == size_t(outputs), "bias width");
  }
  void check_attention(const Attention& it) const {
    check(it.heads > 0 && it.key_value_heads > 0 && it.heads % it.key_value_heads == 0 && it.head_width > 0, "heads");
    check(it.slot >= 0 && it.slot < int(program_.slots.size()), "no such slot");
    const Slot& slot = program_.slots[it.slot];
    check(it.mode == slot.part && slot.key_value_heads == it.key_value_heads && slot.head_width == it.head_width, "slot");
    check(it.sinks < 0 || vector_of(it.sinks) == size_t(it.heads), "sinks");
    check(it.bias < 0 || (it.bias_count > 0 && vector_of(it.bias) == size_t(it.heads) * it.bias_count), "bias table");
    check(it.rotary < 0 || (it.rotary < int(program_.rotaries.size()) && program_.rotaries[it.rotary].half * 2 == it.head_width), "rotary");
    check_norm(it.query_norm, it.head_width);
    check_norm(it.key_norm, it.head_width);
  }
  void check_experts(const Experts& it) const {
    check(it.count > 0 && it.per_token > 0 && it.per_token <= it.count && it.width > 0, "experts");
    check(it.feed_forward >= 0 && it.feed_forward < int(program_.feed_forwards.size()), "experts' feed-forward");
    const Matrix& router = matrix(it.router);
    check(router.outputs == it.count, "router");
    check(it.router_bias < 0 || vector_of(it.router_bias) == size_t(it.count), "router bias");
    const bool gated = program_.feed_forwards[it.feed_forward].gated != 0;
    for (int e = 0; e < it.count; ++e) {
      check_product(it.up + e, it.up_bias < 0 ? -1 : it.up_bias + e, router.inputs, it.width);
      if (gated) check_product(it.gate + e, it.gate_bias < 0 ? -1 : it.gate_bias + e, router.inputs, it.width);
      check_product(it.down + e, it.down_bias < 0 ? -1 : it.down_bias + e, it.width, router.inputs);
    }
  }
  void check_op(const Op& op, bool encoder) const {
    const auto detail = [&](size_t count) { check(op.detail >= 0 && op.detail < int(count), "no such detail"); };
    switch (Kind(op.kind)) {
      case Kind::embed: {
        const Matrix& table = matrix(op.matrix[0]);
        check(table.inputs == width(op.out[0]), "embedding width");
        check(table.outputs >= (encoder ? program_.source_vocab_size : program_.vocab_size), "embedding rows");
        return;
      }
      case Kind::add_table:
        check(op.offset >= 0 && vector_of(op.bias[0]) >= size_t(program_.context + op.offset) * width(op.out[0]), "table");
        return;
      case Kind::norm:
        check(op.norm >= 0 && width(op.in) == width(op.out[0]), "norm");
        return check_norm(op.norm, width(op.in));
      case Kind::add: return check(width(op.in) == width(op.out[0]), "sum");
      case Kind::linear:
        check_norm(op.norm, width(op.in));
        check(op.matrix[0] >= 0, "linear");
        for (int i = 0; i < 3 && op.matrix[i] >= 0; ++i) check_product(op.matrix[i], op.bias[i], width(op.in), width(op.out[i]));
        if (op.add) check(op.matrix[1] < 0 && width(op.aux) == width(op.out[0]), "sum in a product");
        return;
      case Kind::feed:
        detail(program_.feed_forwards.size());
        check_norm(op.norm, width(op.in));
        check_product(op.matrix[0], op.bias[0], width(op.in), width(op.out[0]));
        if (program_.feed_forwards[op.detail].gated) check_product(op.matrix[1], op.bias[1], width(op.in), width(op.aux));
        return check(width(op.aux) == width(op.out[0]), "feed-forward");
      case Kind::attend:
      case Kind::keep: {
        detail(program_.attentions.size());
        const Attention& it = program_.attentions[op.detail];
        const bool keeps = Kind(op.kind) == Kind::keep;
        check(keeps ? it.mode == 2 && encoder : (it.mode == 1) == encoder, "attention in the wrong program");
        if (keeps || it.mode != 2)
          check(width(op.out[1]) == it.key_value_heads * it.head_width && width(op.out[2]) == width(op.out[1]), "keys");
        if (!keeps) check(width(op.out[0]) == it.heads * it.head_width && width(op.in) == width(op.out[0]), "queries");
        return;
      }
      case Kind::experts:
        detail(program_.experts.size());
        check_norm(op.norm, width(op.in));
        check(op.out[0] != op.in && width(op.out[0]) == width(op.in), "experts");
        return check(matrix(program_.experts[op.detail].router).inputs == width(op.in), "router width");
      case Kind::logits:
        check_norm(op.norm, width(op.in));
        check(!encoder, "logits of sources");
        return check_product(op.matrix[0], op.bias[0], width(op.in), program_.vocab_size);
    }
    throw std::invalid_argument("no such operator");
  }

  const Program& program_;
};

// Pass tokens through a program, a chunk at a time. Rows of `logits` follow the tokens that ask.
void pass(Model& model, const std::vector<Op>& ops, const std::vector<Token>& tokens, std::vector<Row*>& rows,
          std::vector<Columns*>& encoder_columns, size_t chunk, float* logits) {
  Interpreter interpreter(model.program, *model.kernels, model.threads, model.scratch);
  for (size_t start = 0; start < tokens.size(); start += chunk) {
    const std::span<const Token> some(tokens.data() + start, std::min(chunk, tokens.size() - start));
    interpreter.run(ops, some, rows, encoder_columns, logits);
    for (const Token& token : some)
      if (token.asked) logits += model.program.vocab_size;
  }
}

// Change a session. What is wrong with a request is found before anything changes; whatever else breaks off may leave
// rows that are neither as before nor as after, so it closes the session.
template <typename Function>
void change(Session& session, Function function) {
  const std::lock_guard lock(session.model->running);
  check(!session.closed, "an earlier error closed this session; start another one");
  session.closed = true;
  try {
    function();
  } catch (const std::invalid_argument&) {
    session.closed = false;
    throw;
  }
  session.closed = false;
}

void read_sources(Session& session, const int64_t* ids, const int32_t* lengths) {
  Model& model = *session.model;
  const Program& program = model.program;
  std::vector<Columns> columns;
  std::vector<Row*> rows;
  std::vector<Columns*> encoder_columns;
  std::vector<Token> tokens;
  const auto read = [&] {
    encoder_columns.clear();
    for (Columns& each : columns) encoder_columns.push_back(&each);
    pass(model, program.encoder, tokens, rows, encoder_columns, tokens.size(), nullptr);
    columns.clear();
    rows.clear();
    tokens.clear();
  };
  for (size_t i = 0; i < session.rows.size(); ++i) {
    const int length = lengths[i];
    check(length > 0 && length <= program.context, "a source is empty or longer than the context");
    if (!tokens.empty() && tokens.size() + length > SOURCE_CHUNK) read();
    Row& row = *session.rows[i];
    row.source.reserve(length);
    row.source.length = length;
    columns.emplace_back(program.slots, 1, model.half_cache);
    columns.back().reserve(length);
    columns.back().length = length;
    for (int j = 0; j < length; ++j, ++ids) {
      check(*ids >= 0 && *ids < program.source_vocab_size, "a source has a token that is not in the vocabulary");
      tokens.push_back({int(*ids), int(rows.size()), j, j, -1, length, false});
    }
    rows.push_back(&row);
  }
  if (!tokens.empty()) read();
}

// Append lengths[row] tokens to each row, or one to each of its beams; logits of the last token, or of all.
void extend(Session& session, const int64_t* ids, const int32_t* lengths, int beams, bool all, float* logits) {
  Model& model = *session.model;
  std::vector<Token> tokens;
  std::vector<Row*> rows;
  std::vector<Columns*> none;
  const int64_t* checked = ids;
  for (size_t i = 0; i < session.rows.size(); ++i) {
    const int length = beams > 0 ? beams : lengths[i];
    const Row& row = *session.rows[i];
    check(beams == 0 ? row.beams == 0 : row.beams == beams, "another number of beams than the row has");
    check(length > 0 && row.next_position + (beams > 0 ? 1 : length) <= model.program.context, "the context is full");
    for (int j = 0; j < length; ++j, ++checked)
      check(*checked >= 0 && *checked < model.program.vocab_size, "a token is not in the vocabulary");
  }
  for (size_t i = 0; i < session.rows.size(); ++i) {
    Row& row = *session.rows[i];
    const int length = beams > 0 ? beams : lengths[i];
    row.prune();
    const int start = row.own.length;
    row.append(length);
    for (int j = 0; j < length; ++j, ++ids)
      tokens.push_back({int(*ids), int(i), start + j, row.positions[start + j], beams > 0 ? j : -1, row.next_position,
                        all || beams > 0 || j + 1 == length});
    rows.push_back(&row);
  }
  pass(model, model.program.decoder, tokens, rows, none, CHUNK, logits);
}

}  // namespace
}  // namespace openbook

using namespace openbook;

OPENBOOK_API int openbook_version() { return VERSION; }
OPENBOOK_API const char* openbook_error() { return last_error.c_str(); }
OPENBOOK_API int openbook_cores() { return usable_cores(); }

OPENBOOK_API Model* openbook_model(const char* kernels, int threads, int half_cache) {
  const Kernels* chosen = choose_kernels(kernels);
  if (chosen == nullptr) {
    last_error = "this processor does not run these kernels";
    return nullptr;
  }
  try {
    return new Model(chosen, std::clamp(threads, 1, 255), half_cache != 0);
  } catch (const std::exception& error) {
    last_error = error.what();
    return nullptr;
  }
}
OPENBOOK_API void openbook_model_free(Model* model) { delete model; }
OPENBOOK_API const char* openbook_kernels(const Model* model) { return model->kernels->name; }

OPENBOOK_API int openbook_matrix(Model* model, int format, int outputs, int inputs, const void* numbers, const void* scale,
                                 const void* offset) {
  return guarded([&] {
    check(format >= 0 && format <= 5 && outputs > 0 && inputs > 0 && numbers != nullptr, "matrix");
    const bool whole = Format(format) == Format::int8 || Format(format) == Format::int8_groups || Format(format) == Format::int4;
    check(!whole || scale != nullptr, "a matrix of whole numbers has no scales");
    check(offset == nullptr || Format(format) == Format::int4, "offsets are for matrices of 4 bits");
    check(!model->packed, "a matrix after the others were packed");
    model->plains.push_back({Format(format), outputs, inputs, numbers, scale, offset});
    model->program.matrices.push_back(described(model->plains.back(), model->kernels->step));
  });
}
OPENBOOK_API int openbook_vector(Model* model, const float* numbers, int64_t count) {
  return guarded([&] {
    check(count >= 0 && numbers != nullptr, "vector");
    model->program.vectors.emplace_back(numbers, numbers + count);
  });
}
OPENBOOK_API int openbook_program(Model* model, const int32_t* sizes, const int32_t* counts, const Op* decoder,
                                  const Op* encoder, const int32_t* widths, const Norm* norms, const Rotary* rotaries,
                                  const Attention* attentions, const FeedForward* feed_forwards, const Experts* experts,
                                  const Slot* slots) {
  return guarded([&] {
    Program& program = model->program;
    program.vocab_size = sizes[0];
    program.source_vocab_size = sizes[1];
    program.context = sizes[2];
    copy(decoder, counts[0], program.decoder);
    copy(encoder, counts[1], program.encoder);
    copy(widths, counts[2], program.widths);
    copy(norms, counts[3], program.norms);
    copy(rotaries, counts[4], program.rotaries);
    copy(attentions, counts[5], program.attentions);
    copy(feed_forwards, counts[6], program.feed_forwards);
    copy(experts, counts[7], program.experts);
    copy(slots, counts[8], program.slots);
    check(program.vocab_size > 0 && program.context > 0, "sizes");
    for (const int32_t width : program.widths) check(width > 0 && width < (1 << 24), "register width");
    for (const Slot& slot : program.slots)
      check(slot.part >= 0 && slot.part <= 2 && slot.key_value_heads > 0 && slot.head_width > 0, "slot");
    Checker(program).check_all();
  });
}

// Pack the weights, after the program is set. What the matrices' pointers show is read now and never again.
OPENBOOK_API int openbook_pack(Model* model) {
  return guarded([&] {
    check(!model->packed && !model->program.decoder.empty(), "weights are packed once, after the program is set");
    pack_all(model->plains, model->program, model->threads);
    model->plains.clear();
    model->packed = true;
  });
}

OPENBOOK_API Session* openbook_session(Model* model) { return new (std::nothrow) Session(model); }
OPENBOOK_API void openbook_session_free(Session* session) { delete session; }
OPENBOOK_API int openbook_rows(const Session* session) { return int(session->rows.size()); }
OPENBOOK_API int openbook_length(const Session* session, int row) {
  return row >= 0 && row < int(session->rows.size()) ? session->rows[row]->own.length : -1;
}

OPENBOOK_API int openbook_branched(const Session* session) {
  return std::any_of(session->rows.begin(), session->rows.end(), [](const auto& row) { return row->beams > 0; });
}

// Start `count` rows with prompts, and sources where the model reads them; logits (count, V) of the last tokens.
OPENBOOK_API int openbook_prefill(Session* session, int count, const int64_t* ids, const int32_t* lengths,
                                  const int64_t* sources, const int32_t* source_lengths, float* logits) {
  return guarded([&] {
    change(*session, [&] {
      check(session->model->packed, "the weights are not packed yet");
      check(session->rows.empty() && count > 0, "a session is started once");
      check((sources != nullptr) == !session->model->program.encoder.empty(), "sources");
      for (int i = 0; i < count; ++i) {
        auto row = std::make_unique<Row>();
        row->own = Columns(session->model->program.slots, 0, session->model->half_cache);
        row->source = Columns(session->model->program.slots, 2, session->model->half_cache);
        session->rows.push_back(std::move(row));
      }
      try {
        if (sources != nullptr) read_sources(*session, sources, source_lengths);
        extend(*session, ids, lengths, 0, false, logits);
      } catch (...) {
        session->rows.clear();
        throw;
      }
    });
  });
}
// Bytes of a decoder's keys and values of one token.
OPENBOOK_API int64_t openbook_column_bytes(const Model* model) {
  return int64_t(Columns(model->program.slots, 0, model->half_cache).column_bytes());
}
// Copy the keys and values of `count` tokens of a row, from `first` on, to `block`.
OPENBOOK_API int openbook_save(Session* session, int row, int first, int count, std::byte* block) {
  return guarded([&] {
    const std::lock_guard lock(session->model->running);
    check(!session->closed, "an earlier error closed this session; start another one");
    check(row >= 0 && row < int(session->rows.size()), "no such row");
    check(session->model->program.encoder.empty(), "a row that looks at a source cannot be saved");
    Row& it = *session->rows[row];
    check(it.beams == 0, "a row that has branched cannot be saved");
    check(first >= 0 && count > 0 && first % LANES == 0 && count % LANES == 0 && count <= it.own.length - first, "block");
    it.own.save(first, count, block);
  });
}
// Start one row that has read the tokens of these blocks, counts[i] of them in each.
OPENBOOK_API int openbook_restore(Session* session, const std::byte* const* blocks, const int32_t* counts, int block_count) {
  return guarded([&] {
    change(*session, [&] {
      const Model& model = *session->model;
      check(model.packed, "the weights are not packed yet");
      check(session->rows.empty() && block_count > 0, "a session is started once");
      check(model.program.encoder.empty(), "a row that looks at a source cannot be restored");
      int total = 0;
      for (int i = 0; i < block_count; ++i) {
        check(counts[i] > 0 && counts[i] % LANES == 0 && counts[i] <= model.program.context - total, "block");
        total += counts[i];
      }
      auto row = std::make_unique<Row>();
      row->own = Columns(model.program.slots, 0, model.half_cache);
      row->source = Columns(model.program.slots, 2, model.half_cache);
      row->own.reserve(total);
      for (int i = 0; i < block_count; ++i) row->own.load(counts[i], blocks[i]);
      for (int i = 0; i < total; ++i) row->positions.push_back(i);
      row->next_position = total;
      session->rows.push_back(std::move(row));
    });
  });
}
// Append tokens to every row; logits of each row's last token (B, V), or of all tokens.
OPENBOOK_API int openbook_extend(Session* session, const int64_t* ids, const int32_t* lengths, int all, float* logits) {
  return guarded([&] { change(*session, [&] { extend(*session, ids, lengths, 0, all != 0, logits); }); });
}
// Append a token to every beam, ids (B, W); logits (B, W, V). Rows that have not branched have one beam.
OPENBOOK_API int openbook_step(Session* session, const int64_t* ids, int beams, float* logits) {
  return guarded([&] {
    change(*session, [&] {
      const std::vector<int32_t> ones(session->rows.size(), 1);
      extend(*session, ids, ones.data(), beams == 1 && !openbook_branched(session) ? 0 : beams, true, logits);
    });
  });
}
OPENBOOK_API int openbook_best(Session* session, const float* logits, int rows, int beams, const float* sums,
                               const int64_t* never, int never_count, int count, float* best_sums, int64_t* best_places) {
  return guarded([&] {
    const std::lock_guard lock(session->model->running);
    check(count > 0 && beams > 0 && rows > 0, "continuations");
    best_continuations(*session->model->kernels, session->model->threads, logits, rows, beams,
                       session->model->program.vocab_size, sums, never, never_count, count, best_sums, best_places);
  });
}
// Beam i of each row goes on from what was its beam parents (B, W)[i].
OPENBOOK_API int openbook_branch(Session* session, const int64_t* parents, int beams) {
  return guarded([&] {
    change(*session, [&] {
      check(beams > 0, "beams");
      for (size_t row = 0; row < session->rows.size(); ++row)
        for (int beam = 0; beam < beams; ++beam) {
          const int64_t parent = parents[row * beams + beam];
          check(parent >= 0 && parent < std::max(1, session->rows[row]->beams), "no such beam");
        }
      for (size_t row = 0; row < session->rows.size(); ++row) session->rows[row]->branch(parents + row * beams, beams);
    });
  });
}
// Row i becomes what row rows[i] was; rows may repeat, be fewer or more.
OPENBOOK_API int openbook_reorder(Session* session, const int64_t* rows, int count) {
  return guarded([&] {
    change(*session, [&] {
      std::vector<int> uses(session->rows.size(), 0);
      for (int i = 0; i < count; ++i) {
        check(rows[i] >= 0 && rows[i] < int64_t(session->rows.size()), "no such row");
        ++uses[rows[i]];
      }
      std::vector<std::unique_ptr<Row>> now(count);
      for (int i = 0; i < count; ++i) {  // the last that uses a row takes it, the others copy
        std::unique_ptr<Row>& old = session->rows[rows[i]];
        now[i] = --uses[rows[i]] > 0 ? std::make_unique<Row>(*old) : std::move(old);
      }
      session->rows = std::move(now);
    });
  });
}
// The rows of another session of the same model follow those of this one; the other is left empty.
OPENBOOK_API int openbook_join(Session* session, Session* other) {
  return guarded([&] {
    check(session != other && session->model == other->model, "sessions of two models");
    check(!other->closed, "an earlier error closed the other session");
    change(*session, [&] {
      session->rows.reserve(session->rows.size() + other->rows.size());
      for (auto& row : other->rows) session->rows.push_back(std::move(row));
      other->rows.clear();
    });
  });
}
// Forget all but the first `length` tokens of each row that has more.
OPENBOOK_API int openbook_truncate(Session* session, int row, int length) {
  return guarded([&] {
    change(*session, [&] {
      check(row >= 0 && row < int(session->rows.size()) && length > 0, "no such row");
      Row& it = *session->rows[row];
      check(it.beams == 0, "a row that has branched cannot be cut");
      if (length >= it.own.length) return;
      it.own.length = length;
      it.positions.resize(length);
      it.next_position = it.positions.back() + 1;
    });
  });
}
