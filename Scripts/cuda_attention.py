"""Checks of the CUDA kernels that project, keep and read keys and values."""

import math

import torch

from cuda_card import SUFFIXES, TYPES, make
from cuda_codes import Codes, planes

# Weights are multiplied in float32; keys and values are rounded to halves.
LIMIT, HALF_LIMIT = 5e-6, 6e-4
# Queries of a prompt and powers of its scores are rounded to halves before they meet keys and values.
TILE_LIMIT = 1e-3


def turned(x, cosines, sines, half):
    """`[..., h]` with its first lanes rotated."""
    if half == 0:
        return x
    first, second = x[..., :half], x[..., half:2 * half]
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines,
                      x[..., 2 * half:]], -1)


def tables(c, positions, half):
    angles = torch.arange(positions)[:, None] * torch.linspace(1, 0.01, max(half, 1))[:half]
    return angles.cos().to(c.card.device).contiguous(), angles.sin().to(c.card.device).contiguous()


class Layer:
    """Weights of one layer's heads, and what its cache should hold."""

    def __init__(self, c, dtype, head, groups, per_group, half, window, capacity, width=96):
        self.c, self.dtype, self.head, self.groups = c, dtype, head, groups
        self.per_group, self.half, self.window, self.capacity = per_group, half, window, capacity
        self.width, self.padded_head = width, (head + 7) // 8 * 8
        heads = groups * per_group
        self.draw_weights([rows * head for rows in (heads, groups, groups)])
        self.biases = [c.floats(rows * head) for rows in (heads, groups, groups)]
        self.cosines, self.sines = tables(c, capacity, half)
        shape = (groups, capacity, self.padded_head)
        self.keys, self.values = (torch.zeros(shape, dtype=torch.float16, device=c.card.device)
                                  for _ in range(2))
        self.settled = torch.zeros(groups, dtype=torch.int32, device=c.card.device)
        self.inputs = c.floats(capacity, self.width)
        self.round_inputs()
        self.kept = c.blank(max(window, 1), self.kept_stride).half()

    def draw_weights(self, rows):
        self.query, self.key, self.value = (
            self.c.floats(many, self.width, dtype=self.dtype, spread=0.1) for many in rows)
        self.weights = [each.double() for each in (self.query, self.key, self.value)]
        self.padded_width = self.row_stride = self.width
        self.suffix, self.limit = SUFFIXES[self.dtype], LIMIT
        # Tensor cores take halves; others meet them one warp to a pair of rows.
        self.is_tiled, self.is_coded = self.dtype == torch.float16, False

    def round_inputs(self):
        self.kept_stride = (self.width + 255) // 256 * 256
        self.halves = torch.zeros(self.capacity, self.kept_stride, dtype=torch.float16,
                                  device=self.c.card.device)
        self.halves[:, :self.width] = self.inputs.half()
        self.met = self.inputs.half().double()

    def launch_shape(self):
        """Threads, shared bytes, and recent inputs that a block keeps."""
        lists = 8 * self.groups * (self.window // 4 + 2)
        if not self.is_tiled:
            return 256, 2 * self.kept_stride + lists, 0
        recent = min(2, max(self.window - 1, 0))
        input_stride = (2 * self.kept_stride + 127) // 128 * 128 + 64
        warps = TYPES["dv_code_tile_warps" if self.is_coded else "dv_tile_warps"]
        stage = 0 if self.is_coded else TYPES["dv_tile_bytes"]
        return 32 * warps, warps * stage + (1 + recent) * input_stride + lists, recent

    def project(self, position, chosen, only_settles=False):
        c, heads = self.c, self.groups * self.per_group
        self.queries, counters = c.blank(heads * self.head), c.integers([0, 0, 0, 0])
        groups = make("choice", all=self.groups) if chosen is None else make(
            "choice", count=c.integers([len(chosen)]), list=chosen, all=self.groups,
            stride=self.groups)
        self.choice = groups
        threads, shared, recent = self.launch_shape()
        c.card.launch(f"project_heads_{self.suffix}", (3,), threads, make(
            "project_arguments", groups=groups, x=self.halves[position],
            positions=c.integers([position]), query=self.query, key=self.key, value=self.value,
            query_bias=self.biases[0], key_bias=self.biases[1], value_bias=self.biases[2],
            queries=self.queries, keys=self.keys, values=self.values, kept=self.kept,
            settled=self.settled, cosines=self.cosines, sines=self.sines, counters=counters,
            width=self.width, padded_width=self.padded_width, row_stride=self.row_stride,
            head=self.head, padded_head=self.padded_head, heads_per_group=self.per_group,
            group_count=self.groups, capacity=self.capacity, window=self.window,
            kept_stride=self.kept_stride, rotary_half=self.half, recent=recent,
            settles_only=int(only_settles)), shared)
        return counters

    def attend(self, position, splits, slopes=None, sliding=0):
        c, heads = self.c, self.groups * self.per_group
        self.position, self.sliding = position, sliding
        self.parts = c.blank(heads, splits, self.padded_head + 2)
        c.card.launch("attend_cache", (self.groups, splits, self.per_group), 128, make(
            "attend_arguments", groups=self.choice, positions=c.integers([position]),
            queries=self.queries, keys=self.keys, values=self.values, settled=self.settled,
            cosines=self.cosines, sines=self.sines, slopes=0 if slopes is None else slopes,
            parts=self.parts, head=self.head, padded_head=self.padded_head,
            heads_per_group=self.per_group, group_count=self.groups, capacity=self.capacity,
            window=self.window, rotary_half=self.half, splits=splits, sliding_window=sliding,
            scale=1 / math.sqrt(self.head)))

    def merging(self, splits, context=0):
        return make(
            "context_arguments", positions=self.c.integers([self.position]), parts=self.parts,
            context=context, heads=self.groups * self.per_group, head=self.head,
            padded_head=self.padded_head, splits=splits, sliding_window=self.sliding)

    def contexts(self, splits):
        c, heads = self.c, self.groups * self.per_group
        context = c.blank(heads * self.head)
        c.card.launch("merge_context", (-(-heads * self.head // 256),), 256,
                      self.merging(splits, context))
        return context.view(heads, self.head)

    def product(self, weight, bias, positions):
        # Inputs are multiplied as they are kept.
        y = self.met[positions] @ weight.T + bias.double()
        return y.view(len(positions), -1, self.head)

    def expected_cache(self, positions):
        """Keys and values `[groups, positions, h]` in float64."""
        key = self.product(self.weights[1], self.biases[1], positions).transpose(0, 1)
        c, s = self.cosines[positions].double(), self.sines[positions].double()
        return turned(key, c, s, self.half), self.product(
            self.weights[2], self.biases[2], positions).transpose(0, 1)

    def expected_context(self, position, slopes=None, sliding=0):
        query = self.queries.double().view(-1, self.head)
        c, s = self.cosines[position].double(), self.sines[position].double()
        query = turned(query, c, s, self.half).view(self.groups, self.per_group, self.head)
        first = max(0, position + 1 - sliding) if sliding else 0
        keys, values = (x[:, first:position + 1, :self.head].double()
                        for x in (self.keys, self.values))
        scores = torch.einsum("gmh,gph->gmp", query, keys) / math.sqrt(self.head)
        if slopes is not None:
            distance = torch.arange(first, position + 1, device=scores.device) - position
            scores += slopes.double().view(self.groups, self.per_group, 1) * distance
        return torch.einsum("gmp,gph->gmh", scores.softmax(-1), values).reshape(-1, self.head)


class CodedLayer(Layer):
    """The same in codes; `dtype` is (bits, group, zeros)."""

    def draw_weights(self, rows):
        bits, group, zeros = self.dtype
        made = [Codes(self.c, many, self.width, bits, group, zeros) for many in rows]
        self.query, self.key, self.value = (each.rows for each in made)
        self.weights = [each.weights for each in made]
        self.padded_width, self.row_stride = made[0].padded, made[0].stride
        self.suffix, self.limit = f"i{bits}", 1e-4
        self.is_tiled = self.is_coded = True

    def round_inputs(self):
        self.halves = torch.stack([planes(self.c, x, self.width) for x in self.inputs])
        self.c.card.wait()
        self.kept_stride, self.met = self.halves.shape[1] // 2, self.inputs.double()


def check_projection(c, kind, dtype, head, groups, per_group, half, window, width=96):
    """Steps with changing sets: what is settled equals the eager cache, what is owed is kept."""
    what = (f"{dtype} head {head}, {groups} x {per_group}, rotary {half}, window {window}, "
            f"width {width}")
    layer, steps = kind(c, dtype, head, groups, per_group, half, window, 32, width), 13
    eager = kind(c, dtype, head, groups, per_group, half, 0, 32, width)
    for name in ("query", "key", "value", "weights", "biases", "inputs", "halves", "met"):
        setattr(eager, name, getattr(layer, name))
    for position in range(steps):
        chosen = None if position % 5 == 4 else c.draw(position % groups, groups)
        counters = layer.project(position, chosen)
        c.card.wait()
        settles = window == 0 or (position + 1) % window == 0
        rows = torch.arange(groups) if chosen is None else chosen.long().cpu()
        touched = torch.arange(groups) if settles else rows
        owed = [position - int(layer.settled[g]) if window else 0 for g in touched]
        c.same(f"project_heads {what}, step {position}: counters", counters, c.integers(
            [len(rows), len(touched), sum(owed), max(owed + [0])]))
        lanes = per_group * head
        got = layer.queries.view(groups, lanes)[rows]
        query = layer.product(layer.weights[0], layer.biases[0], torch.tensor([position]))
        c.compare(f"project_heads {what}, step {position}: queries", got,
                  query.view(groups, lanes)[rows], layer.limit)
        layer.attend(position, 3)
        eager.project(position, None)
        eager.attend(position, 3)
    layer.project(steps - 1, None, only_settles=True)
    layer.settled.fill_(steps - 1)
    layer.project(steps - 1, None)
    keys, values = layer.expected_cache(torch.arange(steps))
    c.compare(f"project_heads {what}: keys", layer.keys[:, :steps, :head], keys, HALF_LIMIT)
    c.compare(f"project_heads {what}: values", layer.values[:, :steps, :head], values, HALF_LIMIT)
    c.same(f"deferred keys are eager keys, bit for bit, {what}", layer.keys, eager.keys)
    c.same(f"deferred values are eager values, bit for bit, {what}", layer.values, eager.values)


def check_coded(c, *codes):
    """Heads of weights in codes (bits, group, zeros)."""
    for case in [(64, 3, 1, 0, 12, 600), (40, 4, 2, 8, 6, 2200), (128, 2, 1, 0, 0, 96)]:
        check_projection(c, CodedLayer, codes, *case)


def check_reading(c, length, head, groups, per_group, half, splits, alibi, sliding):
    """Split attention over a cache of random halves, and the output rows behind it."""
    what = (f"{length} positions, head {head}, {groups} x {per_group}, rotary {half}, "
            f"{splits} splits, alibi {alibi}, sliding {sliding}")
    layer = Layer(c, torch.float16, head, groups, per_group, half, 0, length + 3)
    for cache in (layer.keys, layer.values):
        cache[:, :, :head] = c.floats(groups, length + 3, head).half()
    heads = groups * per_group
    layer.queries, layer.choice = c.floats(heads * head), make("choice", all=groups)
    slopes = c.floats(heads).abs() * 0.1 if alibi else None
    layer.attend(length - 1, splits, slopes, sliding)
    expected = layer.expected_context(length - 1, slopes, sliding)
    c.compare(f"attend_cache {what}", layer.contexts(splits), expected)
    first = layer.parts.clone()
    layer.attend(length - 1, splits, slopes, sliding)
    merged, again = layer.contexts(splits), layer.parts[:, :, :2]
    c.same(f"attend_cache {what}: same bits", again, first[:, :, :2])
    if length < 100:
        return
    width, slices = 160, 5
    for dtype, suffix in SUFFIXES.items():
        output, chosen = c.floats(heads * head, width, dtype=dtype, spread=0.1), c.draw(
            max(1, groups // 2), groups)
        choice = make("choice", count=c.integers([len(chosen)]), list=chosen, all=groups,
                      stride=groups)
        tiles = -(-width // (2 * 32 * 16 // torch.finfo(dtype).bits * 8))
        sums = c.blank(slices, width)
        c.card.launch(f"sum_heads_{suffix}", (tiles, slices), 256, make(
            "output_arguments", groups=choice, context=layer.merging(splits), output=output,
            out=sums, row_stride=width, padded_width=width, out_stride=width,
            heads_per_group=per_group, few_slices=3), 4 * (groups + 2 + heads * head))
        index = chosen.long()
        weights = output.double().view(groups, per_group * head, width)[index]
        values = merged.double().view(groups, per_group * head)[index]
        c.compare(f"sum_heads {dtype} {what}", sums.sum(0), torch.einsum("gl,glw->w", values, weights))


def check_prompt(c, head, groups, per_group, half, alibi, sliding, start, tokens):
    what = f"{start} + {tokens} tokens, head {head}, alibi {alibi}, sliding {sliding}, rotary {half}"
    layer = Layer(c, torch.float32, head, groups, per_group, half, 0, start + tokens + 2)
    heads, stride = groups * per_group, (groups * per_group + 2 * groups) * head
    projected = c.floats(tokens, stride)
    for cache in (layer.keys, layer.values):
        cache[:, :start, :head] = c.floats(groups, start, head).half()
    slopes = c.floats(heads).abs() * 0.1 if alibi else None
    queries = projected[:, :heads * head].clone()
    key, value = projected[:, heads * head:].clone().view(tokens, 2, groups, head).unbind(1)
    common = dict(projected=projected, keys=layer.keys, values=layer.values, stride=stride,
                  head=head, padded_head=layer.padded_head, capacity=layer.capacity,
                  position=start, tokens=tokens)
    store = make("store_arguments", settled=layer.settled, cosines=layer.cosines, sines=layer.sines,
                 heads=heads, groups=groups, rotary_half=half, **common)
    c.card.launch("store_keys", (tokens,), 256, store)
    if half:
        c.card.launch("turn_queries", (tokens,), 256, store)
    at = slice(start, start + tokens)
    cosines, sines = layer.cosines[at].double()[:, None], layer.sines[at].double()[:, None]
    c.compare(f"store_keys {what}", layer.keys[:, at, :head].transpose(0, 1),
              turned(key.double(), cosines, sines, half), HALF_LIMIT)
    c.compare(f"store_keys {what}: values", layer.values[:, at, :head].transpose(0, 1), value,
              HALF_LIMIT)
    c.same(f"store_keys {what}: settled", layer.settled,
           torch.full_like(layer.settled, start + tokens))
    context = c.blank(tokens, heads * head)
    tile, lanes = (32 if c.card.chunks > 2 else 64), 64 * c.card.chunks

    def launch(**rounding):
        c.card.launch("attend_prompt", (-(-tokens // 64), heads), 128, make(
            "prompt_arguments", slopes=0 if slopes is None else slopes, context=context,
            context_stride=heads * head, heads_per_group=per_group, sliding_window=sliding,
            scale=1 / math.sqrt(head), **common, **rounding), 2 * (64 + 2 * tile) * (lanes + 8))

    launch()
    expected = []
    for t in range(tokens):
        layer.queries = queries[t]
        expected.append(layer.expected_context(start + t, slopes, sliding))
    c.compare(f"attend_prompt {what}", context, torch.stack(expected).view(tokens, -1), TILE_LIMIT)
    for dtype in (torch.float16, torch.bfloat16):
        rounded = c.blank(tokens, heads * head + 8, dtype=dtype)
        launch(rounded=rounded, rounded_stride=heads * head + 8, is_brain=int(dtype == torch.bfloat16))
        c.same(f"attend_prompt {what}: {dtype}", rounded[:, :heads * head], context.to(dtype))


def check_products(c, dtype):
    """The products of a prompt, and copies of a cache's planes."""
    tokens, n, k = 70, 130, 75
    a, by_rows, by_columns = c.floats(tokens, k), c.floats(n, k, dtype=dtype), c.floats(k, n, dtype=dtype)
    bias = c.floats(n)
    for name, b, matrix, stride in [("rows", by_rows, by_rows.T, k), ("columns", by_columns, by_columns, n)]:
        out, flag = c.blank(tokens, n), c.integers([0])
        c.card.launch(f"multiply_{name}_{SUFFIXES[dtype]}", (3, 2), 256, make(
            "product_arguments", a=a, b=b, bias=bias, out=out, flag=flag, tokens=tokens, n=n, k=k,
            a_stride=k, b_stride=stride, out_stride=n, activation=0))
        c.compare(f"multiply_{name} {dtype}", out,
                  (a.double() @ matrix.double() + bias.double()).relu())
        c.same(f"multiply_{name} {dtype}: flag", flag, c.integers([0]))


def check(c):
    for dtype in SUFFIXES:
        check_products(c, dtype)
        for head, groups, per_group, half, window in [
                (128, 4, 1, 0, 8), (64, 5, 1, 0, 0), (80, 3, 1, 0, 4), (64, 3, 2, 32, 8),
                (40, 4, 2, 8, 6)]:
            check_projection(c, Layer, dtype, head, groups, per_group, half, window)
        check_projection(c, Layer, dtype, 20, 3, 1, 0, 12, 1504)
    lengths = (1, 31, 128, 300) if c.scale > 1 else (1, 31, 128, 1024, 2048)
    for length in lengths:
        for case in [(128, 4, 1, 0, 16, False, 0), (64, 3, 2, 32, 7, False, 0),
                     (80, 3, 1, 0, 5, True, 0), (128, 2, 2, 16, 9, True, 100)]:
            check_reading(c, length, *case)
    for case in [(128, 3, 1, 0, False, 0, 0, 20), (64, 2, 2, 32, False, 0, 45, 33),
                 (80, 2, 1, 0, True, 0, 5, 9), (128, 2, 2, 16, True, 10, 50, 40),
                 (96, 2, 1, 0, False, 0, 0, 150), (64, 1, 3, 0, True, 90, 200, 70),
                 (128, 1, 1, 0, False, 65, 130, 129)]:
        check_prompt(c, *case)
    pieces = c.floats(4, 64)
    copy = c.blank(4, 48)
    c.card.launch("fork_planes", (2, 4), 256, make(
        "fork_arguments", **{"from": pieces}, to=copy, from_stride=16, to_stride=12, pieces=12))
    c.same("fork_planes", copy, pieces[:, :48])
    words = c.integers([3] * 300)
    settled, saved = c.integers(range(400)), c.integers([0] * 400)
    c.card.launch("clear_words", (2,), 256, make(
        "clear_arguments", words=words, count=299, settled=settled, saved=saved, entries=400))
    c.same("clear_words", words, c.integers([0] * 299 + [3]))
    c.same("clear_words: what was settled", saved, settled)
