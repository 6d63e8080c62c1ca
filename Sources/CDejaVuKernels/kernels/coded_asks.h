// What kernels over coded rows ask for beside their work, so that lines are there when they are taken.

/// Rows that are all read in the order in which they lie: what is asked for next, and what is when the rows
/// at hand are done. A pace that never changes lets memory work while sums are made: it is worth a
/// tenth to a fifth of an MLP's time with one thread.
typedef struct {
  const uint8_t *next, *due;
} coded_stream;

/// Asks for all that is due once `bytes` more are taken.
static inline void ask_until_due(coded_stream *stream, size_t bytes) {
  for (stream->due += bytes; stream->next < stream->due; stream->next += 64)
    __builtin_prefetch(stream->next, 0, 2);
}

/// With each line of n rows that are taken: a line of each of `ahead` and `also`, or as much of the `stream`
/// where there is one; nothing where all are NULL.
typedef struct {
  const uint8_t *const *ahead, *const *also;
  coded_stream *stream;
} coded_asks;

/// Asks beside block b of n rows.
static inline __attribute__((always_inline)) void ask_beside(const coded_asks *asks, size_t b,
                                                             size_t block_bytes, size_t n) {
  if (asks->stream) {
    prefetch_span(asks->stream->next, n * block_bytes);
    asks->stream->next += n * block_bytes;
    return;
  }
  if (!asks->ahead) return;
#pragma clang loop unroll(full)
  for (size_t r = 0; r < n; r++) {
    prefetch_span(asks->ahead[r] + b * block_bytes, block_bytes);
    if (asks->also) prefetch_span(asks->also[r] + b * block_bytes, block_bytes);
  }
}

/// Asks for the rest of n rows: what lies behind their codes, and of a stream all that is due.
static inline void ask_for_rest(const coded_asks *asks, const coded_shape *s, size_t n) {
  if (asks->stream) {
    ask_until_due(asks->stream, n * s->row_bytes);
    return;
  }
  if (!asks->ahead) return;
  for (size_t r = 0; r < n; r++)
    for (size_t at = s->code_bytes; at < s->row_bytes + 63; at += 64) {
      __builtin_prefetch(asks->ahead[r] + at, 0, 2);
      if (asks->also) __builtin_prefetch(asks->also[r] + at, 0, 2);
    }
}

/// Asks for what lies behind the codes of a row that memory follows by itself, to the nearest cache.
static inline void ask_behind_codes(const uint8_t *row, const coded_shape *s) {
  for (size_t at = s->code_bytes; at < s->row_bytes; at += 64) __builtin_prefetch(row + at, 0, 3);
}
