#!/usr/bin/env python3
"""Checks the arithmetic of the CUDA kernels against PyTorch in float64.

On a card: `Scripts/cuda_kernels.py`. Without one, `--host LIBRARY --driver HEADER` takes the
kernels as the tests compile them for the host. Prints one row per check and fails at the first
error that rounding does not explain.
"""

import argparse
import math
import sys

import torch

import cuda_attention
import cuda_codes
import cuda_stream
import cuda_training
from cuda_card import Card, Host, SUFFIXES, arranged, eighth_bytes, make

# Sums in float32 of stored weights: an order of magnitude above what was measured.
LIMIT = 5e-6
# Caches keep halves, and the reference reads the same halves.
ATTENTION_LIMIT = 2e-5


def padded(width):
    return (width + 15) // 16 * 16


def vector_bytes(width):
    return 4 * arranged(width)


def tiles_of(x, width, tile=48):
    """What a stream knows of its tiles of columns: sums, and squares of distances from means."""
    parts = [x[i:min(i + tile, width)].double() for i in range(0, width, tile)]
    return torch.tensor([[p.sum(), (p - p.mean()).square().sum()] for p in parts],
                        dtype=torch.float32, device=x.device)


def blocks_of(width):
    """Columns of a chooser's row: whole blocks."""
    return (width + 127) // 128 * 128


class Checks:
    def __init__(self, card, scale):
        self.card, self.rows, self.failed = card, [], 0
        self.scale = scale
        self.random = torch.Generator().manual_seed(7)

    def floats(self, *shape, dtype=torch.float32, spread=1.0):
        made = torch.randn(*shape, generator=self.random) * spread
        return made.to(dtype).to(self.card.device)

    def integers(self, values):
        return torch.tensor(values, dtype=torch.int32, device=self.card.device)

    def blank(self, *shape, dtype=torch.float32):
        """Memory whose every element must be written: NaN, or a number no result has."""
        fill = float("nan") if dtype.is_floating_point else -(1 << 30) if dtype == torch.int32 else -128
        return torch.full(shape, fill, dtype=dtype, device=self.card.device)

    def draw(self, count, of):
        chosen = torch.randperm(of, generator=self.random)[:count].sort().values
        return chosen.int().to(self.card.device)

    def note(self, what, error, limit):
        good = error <= limit
        self.failed += not good
        self.rows.append((what, error, limit, good))
        print(f"{'ok  ' if good else 'FAIL'} {error:9.2e} <= {limit:7.1e}  {what}", flush=True)

    def compare(self, what, got, expected, limit=LIMIT):
        self.card.wait()
        got, expected = got.double(), expected.double()
        norm = expected.norm().item()
        error = (got - expected).norm().item() / (norm or 1)
        self.note(what, error if math.isfinite(error) else math.inf, limit)

    def same(self, what, got, expected):
        self.card.wait()
        equal = got.shape == expected.shape and bool((got == expected).all())
        self.note(what, 0.0 if equal else math.inf, 0)


def matrix(c, rows, width, dtype):
    """Rows with padding of zeros."""
    stored = torch.zeros(rows, padded(width), dtype=dtype, device=c.card.device)
    stored[:, :width] = c.floats(rows, width, dtype=dtype, spread=0.05)
    return stored


def normed(x, kind, weight, bias, epsilon):
    x = x.double()
    if kind == 1:
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + epsilon).sqrt()
    elif kind == 2:
        x = x / (x.square().mean(-1, keepdim=True) + epsilon).sqrt()
    return x * weight.double() + bias.double() if kind else x


def norm_of(kind, weight, bias, x=None):
    """A norm; of a stream `x` it takes the sums of tiles."""
    tiles = 0 if x is None else tiles_of(x, len(weight))
    return make("norm", weight=weight if kind else 0, bias=bias if kind else 0, tiles=tiles,
                epsilon=1e-5, kind=kind, tile_width=48)


def prepared(c, what, x, width, norm, dtype, expected):
    """A vector in the forms that kernels read, checked: floats as they keep them."""
    floats, by_eight = c.blank(arranged(width)), int(dtype != torch.float32)
    kept, columns = c.blank(arranged(width), dtype=torch.float16), blocks_of(width)
    rounded = c.blank(eighth_bytes(columns), dtype=torch.int8)
    c.card.launch("prepare_vectors", (1, 1, 2), 1024, make("prepare_arguments", jobs=[make(
        "prepare_job", norm=norm, x=x, floats=floats, kept=kept, rounded=rounded,
        width=width, columns=columns, rounded_stride=len(rounded), by_eight=by_eight)]),
        3 * vector_bytes(width))
    plain = floats
    if by_eight:
        plain = floats.view(-1, 2, 32, 4).transpose(1, 2).reshape(-1)
    c.compare(f"prepare_vectors {what}", plain[:width], expected)
    c.same(f"prepare_vectors {what}: padding", plain[width:], torch.zeros_like(plain[width:]))
    c.same(f"prepare_vectors {what}: halves", kept, plain.half())
    values, steps = from_eighths(rounded, columns)
    groups = torch.zeros(columns, device=x.device)
    groups[:width] = plain[:width]
    c.compare(f"prepare_vectors {what}: steps", steps, groups.view(-1, 64).abs().amax(1) / 127, 1e-6)
    c.compare(f"prepare_vectors {what}: 8 bits", values[:width], expected, 2e-2)
    return floats


def choice(c, rows, all_rows):
    """Of all rows, or of a list with its count beside it."""
    if rows is None:
        return make("choice", all=all_rows)
    return make("choice", count=c.integers([len(rows)]), list=rows, all=all_rows, stride=all_rows)


def check_rows(c, dtype):
    for width, rows, kind in [(4096 // c.scale, 700 // c.scale, 1), (1000 // c.scale, 130, 2),
                              (80, 40, 0)]:
        x, weight, bias = c.floats(width), c.floats(width), c.floats(width)
        stored, y = matrix(c, rows, width, dtype), c.blank(rows)
        flag = c.integers([0])
        expected = stored[:, :width].double() @ normed(x, kind, weight, bias, 1e-5)
        for stream in (None, x):
            y = c.blank(rows)
            vector = prepared(c, f"{dtype} {width}, norm {kind}, tiles {stream is not None}", x, width,
                              norm_of(kind, weight, bias, stream), dtype,
                              normed(x, kind, weight, bias, 1e-5))
            c.card.launch(f"project_rows_{SUFFIXES[dtype]}", (7,), 512, make(
                "rows_arguments", x=vector, matrix=stored, y=y, flag=flag, width=width,
                padded_width=padded(width), row_stride=padded(width), rows=rows),
                vector_bytes(width))
            c.compare(f"project_rows {dtype} {rows} x {width}, norm {kind}", y, expected)
        c.same(f"project_rows {dtype} flag", flag, c.integers([0]))
        vector[3] = math.inf
        c.card.launch(f"project_rows_{SUFFIXES[dtype]}", (7,), 512, make(
            "rows_arguments", x=vector, matrix=stored, y=y, flag=flag, width=width,
            padded_width=padded(width), row_stride=padded(width), rows=rows), vector_bytes(width))
        c.same(f"project_rows {dtype} flag of an infinite input", flag, c.integers([1]))


ACTIVATIONS = [
    torch.relu, torch.nn.functional.gelu,
    lambda x: torch.nn.functional.gelu(x, approximate="tanh"), torch.nn.functional.silu,
]


def check_mlp(c, dtype):
    width, neurons, slices = 1536 // c.scale, 1200 // c.scale, 9
    suffix, wide = SUFFIXES[dtype], padded(1536 // c.scale)
    x, weight, bias = c.floats(width), c.floats(width), c.floats(width)
    up_bias, gate_bias = c.floats(neurons), c.floats(neurons)
    columns_of_block = 2 * 32 * 16 // torch.finfo(dtype).bits * 8
    tiles = -(-wide // columns_of_block)
    for per_neuron, activation, chosen in [
        (2, 0, None), (2, 0, c.draw(neurons // 10, neurons)), (2, 0, c.draw(0, neurons)),
        (2, 0, c.draw(1, neurons)), (2, 1, None), (2, 2, None), (3, 3, None),
        (3, 3, c.draw(neurons // 3, neurons)),
    ]:
        bundle = matrix(c, neurons * per_neuron, width, dtype)
        rows = choice(c, chosen, neurons)
        index = torch.arange(neurons, device=x.device) if chosen is None else chosen.long()
        what = f"{dtype} bundle of {per_neuron}, {len(index)} of {neurons}, activation {activation}"
        values, counters = c.blank(neurons), c.integers([5, 7])
        vector = prepared(c, what, x, width, norm_of(1, weight, bias), dtype,
                          normed(x, 1, weight, bias, 1e-5))
        fields = dict(
            neurons=rows, x=vector, bundle=bundle, up_bias=up_bias,
            gate_bias=gate_bias if per_neuron == 3 else 0, values=values, counters=counters, width=width,
            padded_width=wide, row_stride=wide, rows_per_neuron=per_neuron, activation=activation)
        c.card.launch(f"raise_neurons_{suffix}", (5,), 512, make("up_arguments", **fields),
                      vector_bytes(width))
        if chosen is not None:
            cuda_stream.check_bits(c, what, f"raise_neurons_{suffix}", 512, chosen, neurons, values, fields,
                                   vector_bytes(width))
        planes = bundle[:, :width].double().view(neurons, per_neuron, width)[index]
        product = planes[:, :-1] @ normed(x, 1, weight, bias, 1e-5)
        up = product[:, -1] + up_bias.double()[index]
        value = ACTIVATIONS[activation](up)
        if per_neuron == 3:
            value = ACTIVATIONS[activation](product[:, 0] + gate_bias.double()[index]) * up
        c.compare(f"raise_neurons {what}", values[:len(index)], value)
        active = int((values[:len(index)] != 0).sum())
        c.same(f"raise_neurons {what}: counters", counters,
               c.integers([5 + len(index), 7 + active]))
        expected = values[:len(index)].double() @ planes[:, -1]
        before = None
        for skips in (0, 1, 2, 1):
            parts = c.blank(slices, wide)
            c.card.launch(f"sum_neurons_{suffix}", (tiles, slices), 256, make(
                "down_arguments", neurons=rows, values=values, bundle=bundle, out=parts,
                padded_width=wide, row_stride=wide, rows_per_neuron=per_neuron, out_stride=wide,
                skips=skips))
            c.compare(f"sum_neurons {what}, skips {skips}", parts.sum(0)[:width], expected)
            if before is not None:
                c.same(f"sum_neurons {what}: same bits", parts, before)
            before = parts
        if chosen is not None and len(chosen) > 1:
            by_row = torch.full((neurons,), math.nan, device=x.device)
            by_row[index] = values[:len(index)]
            parts = c.blank(slices, wide)
            c.card.launch(f"sum_neurons_{suffix}", (tiles, slices), 256, make(
                "down_arguments", neurons=rows, values=by_row, bundle=bundle, out=parts,
                padded_width=wide, row_stride=wide, rows_per_neuron=per_neuron, out_stride=wide,
                skips=1, values_by_row=1))
            c.same(f"sum_neurons {what}: by row", parts, before)
        check_add(c, what, slices, before, width)


def check_add(c, what, slices, parts, width):
    stream, bias = c.floats(width), c.floats(width)
    added = stream.double() + parts.double().sum(0)[:width] + bias.double()
    tiles = c.blank(-(-width // 128), 2)
    c.card.launch("add_parts", (-(-width // 128), 1), 512, make(
        "add_arguments", x=stream, parts=parts, bias=bias, tiles=tiles, width=width, stride=width,
        slices=slices, part_stride=parts.shape[1]))
    c.compare(f"add_parts {what}", stream, added)
    expected = tiles_of(stream, width, 128)
    c.compare(f"add_parts {what}: sums of tiles", tiles[:, 0], expected[:, 0], 1e-4)
    c.compare(f"add_parts {what}: squares of tiles", tiles[:, 1], expected[:, 1])


def check_sizes(c, dtype):
    width, neurons, wide = 300, 100, padded(300)
    bundle, values = matrix(c, neurons * 2, width, dtype), c.floats(2, neurons)
    sizes = c.blank(2, neurons)
    c.card.launch(f"size_neurons_{SUFFIXES[dtype]}", (-(-neurons // 8), 2), 256, make(
        "neuron_size_arguments", values=values, bundle=bundle, sizes=sizes, neurons=neurons,
        width=width, row_stride=wide, rows_per_neuron=2, value_stride=neurons,
        size_stride=neurons))
    c.compare(f"size_neurons {dtype}", sizes,
              values.double().abs() * bundle[1::2].double().norm(dim=1))
    groups, lanes = 5, 24
    output, context = matrix(c, groups * lanes, width, dtype), c.floats(2, groups * lanes)
    sizes = c.blank(2, groups)
    c.card.launch(f"size_groups_{SUFFIXES[dtype]}", (groups, 2), 256, make(
        "group_size_arguments", context=context, output=output, sizes=sizes, lanes=lanes,
        width=width, row_stride=wide, context_stride=groups * lanes, size_stride=groups))
    sums = torch.einsum("tgl,glw->tgw", context.double().view(2, groups, lanes),
                        output[:, :width].double().view(groups, lanes, width))
    c.compare(f"size_groups {dtype}", sizes, sums.norm(dim=2))


def check_stream(c, dtype):
    table, ids, width = c.floats(50, 96, dtype=dtype), c.integers([3, 49, 0]), 90
    out = c.floats(3, 96)
    before = out.clone()
    arguments = dict(table=table, ids=ids, out=out, table_stride=96, out_stride=96, width=width)
    name = f"embed_rows_{SUFFIXES[dtype]}"
    c.card.launch(name, (3,), 256, make("embed_arguments", adds=1, **arguments))
    c.same(f"{name}, added", out[:, :width], before[:, :width] + table[ids.long(), :width].float())
    arguments |= dict(ids=c.integers([3, 0]), offset=1)
    c.card.launch(name, (2,), 256, make("embed_arguments", **arguments))
    c.same(f"{name}, offset", out[:2, :width], table[torch.tensor([4, 1]), :width].float())


def check_norms(c):
    for kind in (0, 1, 2):
        x, weight, bias = c.floats(3, 1000) + 2, c.floats(1000), c.floats(1000)
        out = c.blank(3, 1000)
        norm = make("norm", weight=weight, bias=bias, epsilon=1e-5, kind=kind)
        c.card.launch("normalize_rows", (3,), 256, make(
            "normalize_arguments", norm=norm, x=x, out=out, width=1000, stride=1000))
        expected = normed(x, kind, weight, bias, 1e-5)
        if kind == 0:
            expected = x.double() * weight.double() + bias.double()
        c.compare(f"normalize_rows, kind {kind}", out, expected)
        for dtype in (torch.float16, torch.bfloat16):
            rounded = c.blank(3, 1024, dtype=dtype)
            c.card.launch("normalize_rows", (3,), 256, make(
                "normalize_arguments", norm=norm, x=x, out=out, rounded=rounded, width=1000, stride=1000,
                rounded_stride=1024, is_brain=int(dtype == torch.bfloat16)))
            c.same(f"normalize_rows, kind {kind}: {dtype}", rounded[:, :1000], out.to(dtype))
    stream, part, bias = c.floats(5, 1100), c.floats(5, 1104), c.floats(1090)
    expected = stream[:, :1090].double() + bias.double() + part[:, :1090].double()
    behind = stream[:, 1090:].clone()
    c.card.launch("add_rows", (2, 5), 256, make(
        "add_arguments", x=stream, parts=part, bias=bias, width=1090, stride=1100, slices=1,
        part_stride=1104))
    c.compare("add_rows", stream[:, :1090], expected)
    c.same("add_rows: behind the width", stream[:, 1090:], behind)


def coded(c, rows, columns, bits):
    """Codes as they are stored, halves of scales, and the weights they mean."""
    codes = torch.randint(0, 1 << bits, (rows, columns), generator=c.random)
    scales = (torch.rand(rows, columns // 64, generator=c.random) * 0.1 + 0.01).half()
    weights = (codes.double() - ((1 << bits) - 1) / 2) * scales.double().repeat_interleave(64, 1)
    to = c.card.device
    return cuda_codes.packed(codes, bits).to(to), scales.to(to), weights.to(to)


def in_eighths(x):
    """What vectors stand for in 8 bits, with a step for 64 columns."""
    columns = blocks_of(x.shape[-1])
    wide = torch.zeros(*x.shape[:-1], columns, dtype=torch.float64, device=x.device)
    wide[..., :x.shape[-1]] = x
    groups = wide.view(*x.shape[:-1], -1, 64)
    unit = groups.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
    return ((groups / unit).round() * unit).reshape(wide.shape)


def from_eighths(stored, columns):
    """What stored vectors stand for, and their steps."""
    codes = stored[..., :columns].view(torch.int8).reshape(*stored.shape[:-1], -1, 4, 4, 4)
    steps = stored[..., columns:columns + columns // 16].contiguous().view(torch.float32)
    ordered = codes.transpose(-3, -2).reshape(*stored.shape[:-1], columns)
    return ordered.double() * steps.double().repeat_interleave(64, -1), steps


def check_scores(c):
    for bits in (8, 4, 2):
        for rows, width in [(1000 // c.scale, 4096 // c.scale), (3001 // c.scale, 1000 // c.scale),
                            (70, 50)]:
            columns = blocks_of(width)
            stride = eighth_bytes(columns)
            codes, scales, weights = coded(c, rows, columns, bits)
            x, bias, gain = c.floats(2, padded(width)), c.floats(rows), c.floats(rows)
            scores, eights = c.blank(2, rows), c.blank(2, stride, dtype=torch.int8)
            c.card.launch("prepare_vectors", (1, 2), 1024, make("prepare_arguments", jobs=[make(
                "prepare_job", norm=make("norm", epsilon=1e-6, kind=2), x=x, rounded=eights,
                width=width, x_stride=padded(width), columns=columns, rounded_stride=stride)]),
                3 * vector_bytes(width))
            what = f"{bits} bits, {rows} x {width}"
            shared_out(c, what, x[0], width, columns, eights[0])
            job = dict(
                rounded=eights, codes=codes, scales=scales, bias=bias, gain=gain,
                width=width, columns=columns, rows=rows, bits=bits, rounded_stride=stride,
                score_stride=rows)
            c.card.launch("score_rows", (6, 2), 320, make(
                "score_arguments", jobs=[make("score_job", scores=scores, blocks=6, **job)], count=1),
                stride)
            x = x[:, :width]
            vector = normed(x, 2, torch.ones_like(x), torch.zeros_like(x), 1e-6)
            # Rounding in float32 may fall to the other side in rare places.
            expected = (in_eighths(vector) @ weights.T + bias.double()) * gain.double()
            c.compare(f"score_rows {what}", scores, expected, 1e-3)
            check_listed(c, what, job, rows, scores[0], stride)
            check_riders(c, what, job, rows, scores[0], stride)
    width, rows = 300, 96
    codes, scales, weights = coded(c, rows, 384, 8)
    x, scores = c.floats(width), c.blank(rows)
    c.card.launch("score_rows", (3,), 320, make("score_arguments", count=1, jobs=[make(
        "score_job", x=x, codes=codes, scales=scales, scores=scores, width=width, columns=384,
        rows=rows, bits=8, blocks=3)]), eighth_bytes(384))
    c.compare("score_rows of floats", scores, in_eighths(x) @ weights.T, 1e-3)


def shared_out(c, what, x, width, columns, rounded):
    """The same from several blocks, which know the sums of tiles."""
    eights = c.blank(eighth_bytes(columns), dtype=torch.int8)
    norm = make("norm", tiles=tiles_of(x[:width], width), epsilon=1e-6, kind=2, tile_width=48)
    c.card.launch("prepare_vectors", (1, 1, 3), 1024, make("prepare_arguments", jobs=[make(
        "prepare_job", norm=norm, x=x, rounded=eights, width=width, columns=columns,
        rounded_stride=len(eights))]), 3 * vector_bytes(width))
    c.card.wait()
    (values, steps), (expected, units) = from_eighths(eights, columns), from_eighths(rounded, columns)
    c.compare(f"prepare_vectors {what} shared out: steps", steps, units, 1e-6)
    # Sums in another order bring an element to the other side of a half now and then.
    c.compare(f"prepare_vectors {what} shared out", values, expected, 2e-3)


def check_listed(c, what, job, rows, expected, shared):
    """Two jobs in one launch that list what is above their thresholds, as often as it is asked."""
    marks = torch.zeros(2, 8 + rows // 32 + 1, dtype=torch.int32, device=c.card.device)
    for threshold in (0.0, float(expected.median()), -math.inf, math.inf):
        scores, counts = c.blank(2, rows), c.blank(2, dtype=torch.int32)
        lists = c.blank(2, rows, dtype=torch.int32)
        limits, blocks = (threshold, 0.25), (4, 3)
        c.card.launch("score_rows", (7,), 320, make("score_arguments", count=2, jobs=[make(
            "score_job", scores=scores[j], ticket=marks[j], bits_above=marks[j, 4:], count=counts[j:],
            list=lists[j], threshold=limits[j], first_block=4 * j, blocks=blocks[j], **job)
            for j in range(2)]), shared)
        c.card.wait()
        for j in range(2):
            chosen = (expected > limits[j]).nonzero().flatten().int()
            c.same(f"score_rows {what}: job {j}", scores[j], expected)
            c.same(f"score_rows {what}: job {j} above {limits[j]}",
                   lists[j, :max(int(counts[j]), 0)], chosen)


def check_riders(c, what, job, rows, expected, shared):
    """The same two jobs beside attention, where rows are marked, and listed beside a sum."""
    bits = c.blank(2, rows // 32 + 1, dtype=torch.int32)
    chosen = (expected > 0.25).nonzero().flatten().int()
    scores, counts = c.blank(2, rows), c.blank(2, dtype=torch.int32)
    lists = c.blank(2, rows, dtype=torch.int32)
    ride(c, make("score_arguments", count=2, jobs=[make(
        "score_job", scores=scores[j], bits_above=bits[j], threshold=0.25, first_block=4 * j,
        blocks=(4, 3)[j], **job) for j in range(2)]), shared)
    stream, parts = c.floats(200), c.floats(1, 200)
    c.card.launch("add_parts", (4, 1), 512, make(
        "add_arguments", x=stream, parts=parts, width=200, stride=200, slices=1, part_stride=200,
        lists=[make("list_job", bits_above=bits[j], count=counts[j:], list=lists[j], rows=rows)
               for j in range(2)]))
    c.card.wait()
    for j in range(2):
        c.same(f"attend_cache {what}: rider {j}", scores[j], expected)
        c.same(f"add_parts {what}: list {j}", lists[j, :max(int(counts[j]), 0)], chosen)


def ride(c, riders, shared):
    """One head over one position, and two jobs of seven blocks beside it."""
    queries, cache, parts = c.floats(128), c.floats(4, 128).half(), c.blank(1, 4, 130)
    positions, settled = c.integers([0]), c.integers([0])
    c.card.launch("attend_cache", (1, 4, 3), 128, make(
        "attend_arguments", groups=make("choice", all=1), positions=positions, queries=queries,
        keys=cache, values=cache, settled=settled, parts=parts, head=128, padded_head=128,
        heads_per_group=1, group_count=1, capacity=4, splits=4, scale=1.0, rider_planes=2,
        riders=riders), shared)


def check_lists(c):
    """Threshold and top-K with ties, signs, zeros and infinities."""
    for rows in (1, 31, 1024, 5003, 36864 // c.scale):
        scores = c.floats(2, rows)
        scores[1] = (scores[1] * 4).round() / 4
        if rows > 9:
            scores[0, :4] = torch.tensor([math.inf, -math.inf, 0.0, -0.0], device=scores.device)
        for keep, threshold in [(0, 0.5), (0, -math.inf), (0, 9e9), (0, 0.0), (1, 0),
                                (max(1, rows // 10), 0), (max(1, rows // 2), 0), (rows, 0)]:
            counts, lists = c.blank(2, dtype=torch.int32), c.blank(2, rows, dtype=torch.int32)
            level, fits = c.blank(1), int(rows % 2)
            c.card.launch("select_rows", (2,), 1024, make(
                "select_arguments", scores=scores, counts=counts, lists=lists, level=level,
                rows=rows, score_stride=rows, list_stride=rows, keep=keep, threshold=threshold,
                fits=fits), 4 * rows * fits)
            c.card.wait()
            for t in range(2):
                limit = threshold
                if keep:
                    falling = scores[t].sort(descending=True).values
                    limit = falling[keep].item() if keep < rows else None
                expected = torch.arange(rows, device=scores.device) if limit is None else \
                    (scores[t] > limit).nonzero().flatten()
                count = int(counts[t])
                c.same(f"select_rows {rows} rows, keep {keep}, threshold {threshold}, token {t}",
                       lists[t, :max(count, 0)], expected.int())


def check_small(c):
    values, counter = c.floats(2, 60), c.integers([4])
    lists = torch.stack([torch.arange(10), torch.arange(10)]).int().to(c.card.device)
    lists[0, :3] = c.integers([1, 4, 9])
    counts, kept = c.integers([3, 0]), torch.zeros(2, 20, 1, device=values.device)
    kept[0, [1, 4, 9]] = 1
    for values in (values, values.half()):
        before = values.clone()
        c.card.launch("mask_rows", (2,), 256, make(
            "mask_arguments", rows=make("choice", count=counts, list=lists, all=20, stride=10),
            values=values, counter=counter, stride=60, lanes=3, is_short=int(values.dtype == torch.float16)))
        c.same(f"mask_rows {values.dtype}", values, (before.view(2, 20, 3) * kept).view(2, 60))
    c.same("mask_rows: counter", counter, c.integers([10]))
    settled = c.integers([0, 5, 9])
    c.card.launch("clip_settled", (1,), 256, make("clip_arguments", settled=settled, entries=3, count=6))
    c.same("clip_settled", settled, c.integers([0, 5, 6]))
    source, counts = c.integers([3, 8, 2, 5]), c.blank(2, dtype=torch.int32)
    lists = c.blank(2, 4, dtype=torch.int32)
    c.card.launch("assign_list", (2,), 256, make(
        "assign_arguments", source=source, counts=counts, lists=lists, list_stride=4))
    c.same("assign_list", lists[:, :3], source[1:].expand(2, 3))
    for activation, function in enumerate(ACTIVATIONS):
        values, gates = c.floats(2, 50), c.floats(2, 50)
        expected = values.double() * function(gates.double())
        c.card.launch("activate_rows", (2,), 256, make(
            "activate_arguments", values=values, gates=gates, stride=50, width=50,
            activation=activation))
        c.compare(f"activate_rows {activation}", values, expected)


def check_operands(c):
    """Vectors of a prompt in 16 bits, and the look at its logits."""
    for dtype in (torch.float16, torch.bfloat16):
        x, gates = c.floats(3, 96), c.floats(3, 96)
        for activation, gated in [(-1, False), (0, False), (2, False), (1, True), (3, True)]:
            to = c.blank(3, 128, dtype=dtype)
            c.card.launch(f"narrow_rows_{SUFFIXES[dtype]}", (1, 3), 256, make(
                "narrow_arguments", gates=gates if gated else 0, to=to, width=90,
                from_stride=96, to_stride=128, activation=activation, **{"from": x}))
            bent = x.double()
            if gated:
                bent = bent * ACTIVATIONS[activation](gates.double())
            elif activation >= 0:
                bent = ACTIVATIONS[activation](bent)
            what = f"narrow_rows {dtype}, activation {activation}, gated {gated}"
            c.compare(what, to[:, :90], bent[:, :90], torch.finfo(dtype).eps / 2)
            c.same(what + ": padding", to[:, 90:], torch.zeros_like(to[:, 90:]))
    for place, wrong in [(None, 0), (299, math.nan), (0, -math.inf)]:
        values, flag = c.floats(300), c.integers([0])
        if place is not None:
            values[place] = wrong
        c.card.launch("look_over", (2,), 256, make(
            "look_arguments", values=values, flag=flag, count=300))
        c.same(f"look_over, {wrong} at {place}", flag, c.integers([int(place is not None)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", help="library of the kernels compiled for the host")
    parser.add_argument("--driver", help="dejavu_driver.h that the library was compiled with")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    def card_with(codes):
        if options.host:
            return Host(options.host, options.driver, codes)
        return Card(2, codes)

    card = card_with(None)
    c = Checks(card, 8 if options.host else 1)
    for dtype in SUFFIXES:
        for check in (check_rows, check_mlp, check_sizes, check_stream):
            check(c, dtype)
    for check in (check_norms, check_scores, check_lists, check_small, check_operands):
        check(c)
    cuda_attention.check(c)
    cuda_stream.check(c, bool(options.host))
    cuda_training.check(c)
    for codes in [(64, 0), (32, 1)] if options.host else [(128, 0), (64, 0), (64, 1), (32, 1)]:
        c.card = card_with(codes)
        cuda_codes.check(c, *codes)
        cuda_stream.check(c, bool(options.host), coded=True)
        for bits in (4, 8):
            cuda_attention.check_coded(c, bits, *codes)
    print(f"{len(c.rows)} checks on {card.name}, {c.failed} failed")
    sys.exit(c.failed > 0)


if __name__ == "__main__":
    main()
