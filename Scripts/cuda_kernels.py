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
from cuda_card import Card, Host, SUFFIXES, make

# Sums in float32 of stored weights: an order of magnitude above what was measured.
LIMIT = 5e-6
# Caches keep halves, and the reference reads the same halves.
ATTENTION_LIMIT = 2e-5


def padded(width):
    return (width + 15) // 16 * 16


def arranged_bytes(width):
    return 4 * ((width + 255) // 256 * 256)


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
        fill = float("nan") if dtype.is_floating_point else -(1 << 30)
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


def norm_of(kind, weight, bias):
    return make("norm", weight=weight if kind else 0, bias=bias if kind else 0, epsilon=1e-5,
                kind=kind)


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
        c.card.launch(f"project_rows_{SUFFIXES[dtype]}", (7,), 512, make(
            "rows_arguments", norm=norm_of(kind, weight, bias), x=x, matrix=stored, y=y, flag=flag,
            width=width, padded_width=padded(width), row_stride=padded(width), rows=rows),
            arranged_bytes(width))
        expected = stored[:, :width].double() @ normed(x, kind, weight, bias, 1e-5)
        c.compare(f"project_rows {dtype} {rows} x {width}, norm {kind}", y, expected)
        c.same(f"project_rows {dtype} flag", flag, c.integers([0]))
        x[3] = math.inf
        c.card.launch(f"project_rows_{SUFFIXES[dtype]}", (7,), 512, make(
            "rows_arguments", x=x, matrix=stored, y=y, flag=flag, width=width,
            padded_width=padded(width), row_stride=padded(width), rows=rows), arranged_bytes(width))
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
        c.card.launch(f"raise_neurons_{suffix}", (5,), 512, make(
            "up_arguments", norm=norm_of(1, weight, bias), neurons=rows, x=x, bundle=bundle,
            up_bias=up_bias, gate_bias=gate_bias if per_neuron == 3 else 0, values=values,
            counters=counters, width=width, padded_width=wide, row_stride=wide,
            rows_per_neuron=per_neuron, activation=activation), arranged_bytes(width))
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
        for skips in (0, 1, 1):
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
        stream, out_bias = c.floats(width), c.floats(width)
        added = stream.double() + before.double().sum(0)[:width] + out_bias.double()
        c.card.launch("add_parts", (-(-width // 32), 1), 256, make(
            "add_arguments", x=stream, parts=before, bias=out_bias, width=width, stride=width,
            slices=slices, part_stride=wide))
        c.compare(f"add_parts {what}", stream, added)


def check_sizes(c, dtype):
    width, neurons, wide = 300, 100, padded(300)
    bundle, values = matrix(c, neurons * 2, width, dtype), c.floats(2, neurons)
    sizes = c.blank(2, neurons)
    c.card.launch(f"size_neurons_{SUFFIXES[dtype]}", (-(-neurons // 8), 2), 256, make(
        "neuron_size_arguments", values=values, bundle=bundle, sizes=sizes, neurons=neurons,
        padded_width=wide, row_stride=wide, rows_per_neuron=2, value_stride=neurons,
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


def coded(c, rows, columns, bits):
    """Codes as they are stored, halves of scales, and the weights they mean."""
    codes = torch.randint(0, 1 << bits, (rows, columns), generator=c.random)
    scales = (torch.rand(rows, columns // 64, generator=c.random) * 0.1 + 0.01).half()
    per_byte, size = 8 // bits, 64 * bits // 8
    grouped = codes.view(rows, columns // 64, per_byte, size)
    stored = sum(grouped[:, :, part] << (part * bits) for part in range(per_byte))
    weights = (codes.double() - ((1 << bits) - 1) / 2) * scales.double().repeat_interleave(64, 1)
    to = c.card.device
    return stored.to(torch.uint8).reshape(rows, -1).contiguous().to(to), scales.to(to), weights.to(to)


def check_scores(c):
    for bits in (8, 4, 2):
        for rows, columns, width in [(1000 // c.scale, 4096 // c.scale, 4096 // c.scale),
                                     (3001 // c.scale, 1024 // c.scale, 1000 // c.scale), (70, 64, 50)]:
            codes, scales, weights = coded(c, rows, columns, bits)
            x, bias, gain = c.floats(2, width), c.floats(rows), c.floats(rows)
            scores = c.blank(2, rows)
            c.card.launch("score_rows", (6, 2), 256, make(
                "score_arguments", norm=make("norm", epsilon=1e-6, kind=2), x=x, codes=codes,
                scales=scales, bias=bias, gain=gain, scores=scores, width=width, columns=columns,
                rows=rows, bits=bits, x_stride=width, score_stride=rows),
                arranged_bytes(width) + columns)
            vector = normed(x, 2, torch.ones_like(x), torch.zeros_like(x), 1e-6)
            unit = vector.abs().amax(1, keepdim=True) / 127
            # Rounding in float32 may fall to the other side in rare places.
            rounded = (vector / unit).round() * unit
            expected = (rounded @ weights[:, :width].T + bias.double()) * gain.double()
            c.compare(f"score_rows {bits} bits, {rows} x {columns}", scores, expected, 1e-3)


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
            c.card.launch("select_rows", (2,), 1024, make(
                "select_arguments", scores=scores, counts=counts, lists=lists, rows=rows,
                score_stride=rows, list_stride=rows, keep=keep, threshold=threshold))
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
    counts, before = c.integers([3, 0]), values.clone()
    c.card.launch("mask_rows", (2,), 256, make(
        "mask_arguments", rows=make("choice", count=counts, list=lists, all=20, stride=10),
        values=values, counter=counter, stride=60, lanes=3))
    kept = torch.zeros(2, 20, 1, device=values.device)
    kept[0, [1, 4, 9]] = 1
    c.same("mask_rows", values, (before.view(2, 20, 3) * kept).view(2, 60))
    c.same("mask_rows: counter", counter, c.integers([7]))
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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", help="library of the kernels compiled for the host")
    parser.add_argument("--driver", help="dejavu_driver.h that the library was compiled with")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    card = Host(options.host, options.driver) if options.host else Card(chunks=2)
    c = Checks(card, 8 if options.host else 1)
    for dtype in SUFFIXES:
        for check in (check_rows, check_mlp, check_sizes, check_stream):
            check(c, dtype)
    for check in (check_norms, check_scores, check_lists, check_small):
        check(c)
    cuda_attention.check(c)
    print(f"{len(c.rows)} checks on {card.name}, {c.failed} failed")
    sys.exit(c.failed > 0)


if __name__ == "__main__":
    main()
