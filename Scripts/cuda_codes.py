"""Checks of the CUDA kernels that read weights in codes of 4 and 8 bits."""

import math

import torch

import cuda_stream
from cuda_card import TYPES, arranged, make, plane_bytes

# Vectors and factors are rounded to 16 bits.
LIMIT = 5e-5


class Codes:
    """Rows in the engine's groupwise layout, and the weights that they mean in float64."""

    def __init__(self, c, rows, width, bits, group, zeros):
        self.bits, blocks = bits, (width + 127) // 128
        self.padded, groups = 128 * blocks, 128 * blocks // group
        codes = torch.randint(0, 1 << bits, (rows, self.padded), generator=c.random)
        codes[:, width:] = 0
        scales = (torch.rand(rows, groups, generator=c.random) * 0.01 + 0.001).half()
        doubled = torch.full((rows, groups), (1 << bits) - 1)
        if zeros:
            doubled = torch.randint(0, 2 << bits, (rows, groups), generator=c.random)
        real = torch.arange(groups) * group < width
        scales[:, ~real] = 0
        of = torch.arange(self.padded) // group
        weights = (codes.double() - doubled[:, of] / 2) * scales[:, of].double()
        self.weights = weights[:, :width].to(c.card.device)
        parts = [packed(codes, bits), scales.view(torch.uint8).reshape(rows, -1)]
        if zeros:
            kind = torch.int16 if bits == 8 else torch.uint8
            parts.append(doubled.to(kind).view(torch.uint8).reshape(rows, -1))
        stored = torch.cat(parts, 1)
        self.stride = (stored.shape[1] + 15) // 16 * 16
        self.rows = torch.zeros(rows, self.stride, dtype=torch.uint8)
        self.rows[:, :stored.shape[1]] = stored
        self.rows = self.rows.to(c.card.device)


def packed(codes, bits):
    """Bytes of rows of codes of 2, 4 or 8 bits, in whole blocks of 128."""
    # [row, block, half, b, a, d] to places 16 a + 4 b + d.
    places = codes.view(codes.shape[0], -1, 2, 4, 4, 4).transpose(3, 4).reshape(codes.shape[0], -1, 2, 64)
    if bits < 8:
        places = places[:, :, 0] | places[:, :, 1] << bits
    if bits == 2:
        places = places[:, :, :32] | places[:, :, 32:] << 4
    return places.to(torch.uint8).reshape(codes.shape[0], -1)


def planes(c, x, width):
    """A vector as rows of codes meet it."""
    wide = arranged(width)
    out = torch.zeros(plane_bytes(width), dtype=torch.uint8, device=x.device)
    c.card.launch("prepare_vectors", (1, 1), 1024, make("prepare_arguments", jobs=[make(
        "prepare_job", norm=make("norm"), x=x, planes=out, width=width)]), 3 * 4 * wide)
    return out


def everything(c, rows):
    return make("choice", all=rows)


def listed(c, chosen, rows):
    return make("choice", count=c.integers([len(chosen)]), list=chosen, all=rows, stride=rows)


def check_rows(c, bits, group, zeros):
    for width, rows in [(4096 // c.scale, 300 // c.scale), (1000 // c.scale, 70), (80, 40)]:
        codes, x, y = Codes(c, rows, width, bits, group, zeros), c.floats(width), c.blank(rows)
        vector = planes(c, x, width)
        c.card.launch(f"project_rows_i{bits}", (7,), TYPES["dv_row_threads"], make(
            "rows_arguments", x=vector, matrix=codes.rows, y=y, width=width,
            padded_width=codes.padded, row_stride=codes.stride, rows=rows), len(vector))
        c.compare(f"project_rows int{bits}-g{group}, zeros {zeros}, {rows} x {width}", y,
                  codes.weights @ x.double(), LIMIT)


def check_mlp(c, bits, group, zeros):
    width, neurons = 3000 // c.scale, 2400 // c.scale
    codes, x = Codes(c, 2 * neurons, width, bits, group, zeros), c.floats(width)
    vector = planes(c, x, width)
    tiles = -(-codes.padded // (32 * 128 // bits))
    # Of a value near zero nothing is left but what rounding the vector costs: one alone is the greatest.
    greatest = (codes.weights[0::2] @ x.double()).argmax().int().view(1)
    for chosen in (None, c.draw(neurons // 10, neurons), c.draw(0, neurons), greatest):
        rows = everything(c, neurons) if chosen is None else listed(c, chosen, neurons)
        index = torch.arange(neurons, device=x.device) if chosen is None else chosen.long()
        what = f"int{bits}-g{group}, zeros {zeros}, {len(index)} of {neurons}"
        values, counters = c.blank(neurons), c.integers([0, 0])
        fields = dict(neurons=rows, x=vector, bundle=codes.rows, values=values, counters=counters, width=width,
                      padded_width=codes.padded, row_stride=codes.stride, rows_per_neuron=2)
        kernel, threads = f"raise_neurons_i{bits}", TYPES["dv_row_threads"]
        c.card.launch(kernel, (5,), threads, make("up_arguments", **fields), len(vector))
        if chosen is not None:
            cuda_stream.check_bits(c, what, kernel, threads, chosen, neurons, values, fields, len(vector))
        up, down = codes.weights[0::2][index], codes.weights[1::2][index]
        c.compare(f"raise_neurons {what}", values[:len(index)], (up @ x.double()).relu(), LIMIT)

        def summed(slices, skips, values):
            parts = c.blank(slices, codes.padded)
            c.card.launch(f"sum_neurons_i{bits}", (tiles, slices), TYPES["dv_sum_threads"], make(
                "down_arguments", neurons=rows, values=values, bundle=codes.rows, out=parts,
                padded_width=codes.padded, row_stride=codes.stride, rows_per_neuron=2,
                out_stride=codes.padded, skips=skips), TYPES["dv_segment_bytes"])
            return parts

        # One slice has several segments of rows.
        for slices in (3, 1):
            before = None
            for skips in (0, 1, 2, 0):
                parts, named = summed(slices, skips, values), f"{what}, {slices} slices"
                c.compare(f"sum_neurons {named}, skips {skips}", parts.sum(0)[:width],
                          values[:len(index)].double() @ down, LIMIT)
                if before is not None:
                    c.same(f"sum_neurons {named}: same bits", parts, before)
                before = parts
        for wrong in (math.nan, math.inf) if len(index) > 1 else ():
            bent = values.clone()
            bent[len(index) - 1] = wrong
            finite = summed(1, 1, bent)[0, :width].isfinite()
            c.same(f"sum_neurons {what}: {wrong} shows everywhere", finite, torch.zeros_like(finite))


def check_heads(c, bits, group, zeros):
    width, groups, head, slices = 3000 // c.scale, 6, 64, 3
    codes = Codes(c, groups * head, width, bits, group, zeros)
    context, chosen = c.floats(groups * head), c.draw(3, groups)
    # Attention left its context in one part of the cache.
    parts = torch.zeros(groups, head + 2, device=context.device)
    parts[:, 1], parts[:, 2:] = 1, context.view(groups, head)
    merging = make("context_arguments", positions=c.integers([0]), parts=parts, heads=groups,
                   head=head, padded_head=head, splits=1)
    tiles, sums = -(-codes.padded // (32 * 128 // bits)), c.blank(slices, codes.padded)
    c.card.launch(f"sum_heads_i{bits}", (tiles, slices), TYPES["dv_sum_threads"], make(
        "output_arguments", groups=listed(c, chosen, groups), context=merging, output=codes.rows,
        out=sums, row_stride=codes.stride, padded_width=codes.padded, out_stride=codes.padded,
        heads_per_group=1, few_slices=(slices + 1) // 2), TYPES["dv_segment_bytes"] + 4 * (groups + 1 + groups * head))
    lanes = (chosen.long()[:, None] * head + torch.arange(head, device=context.device)).flatten()
    c.compare(f"sum_heads int{bits}-g{group}, zeros {zeros}", sums.sum(0)[:width],
              context.double()[lanes] @ codes.weights[lanes], LIMIT)


def check_others(c, bits, group, zeros):
    what, width, rows = f"int{bits}-g{group}, zeros {zeros}", 300, 60
    codes = Codes(c, rows, width, bits, group, zeros)
    ids, out = c.integers([3, 59, 0]), c.blank(3, 304)
    c.card.launch(f"embed_rows_i{bits}", (3,), 256, make(
        "embed_arguments", table=codes.rows, ids=ids, out=out, table_stride=codes.stride,
        out_stride=304, width=width))
    c.compare(f"embed_rows {what}", out[:, :width], codes.weights[ids.long()], 1e-6)
    a, out = c.floats(70, width), c.blank(70, rows)
    c.card.launch(f"multiply_rows_i{bits}", (1, 2), 256, make(
        "product_arguments", a=a, b=codes.rows, out=out, tokens=70, n=rows, k=width,
        a_stride=width, b_stride=codes.stride, out_stride=rows, activation=-1))
    c.compare(f"multiply_rows {what}", out, a.double() @ codes.weights.T)
    a, out = c.floats(70, rows), c.blank(70, width)
    c.card.launch(f"multiply_columns_i{bits}", (5, 2), 256, make(
        "product_arguments", a=a, b=codes.rows, out=out, tokens=70, n=width, k=rows,
        a_stride=rows, b_stride=codes.stride, out_stride=width, activation=-1))
    c.compare(f"multiply_columns {what}", out, a.double() @ codes.weights)


def check_decoding(c, bits, group, zeros):
    """Codes as halves, for products of prompts: rounded once."""
    for width, rows in [(1000 // c.scale, 70), (256, 3)]:
        codes = Codes(c, rows, width, bits, group, zeros)
        to = c.blank(rows, codes.padded, dtype=torch.float16)
        units = codes.padded * bits // 128
        c.card.launch(f"decode_rows_i{bits}", (-(-rows * units // 256),), 256, make(
            "decode_arguments", rows=codes.rows, to=to, padded=codes.padded, row_count=rows, row_stride=codes.stride,
            to_stride=codes.padded))
        c.same(f"decode_rows int{bits}-g{group}, zeros {zeros}, {rows} x {width}", to[:, :width],
               codes.weights.float().half())


def check_turns(c, bits, group, zeros):
    """Neurons whose bits a block's threads find in two turns."""
    width, neurons = 128, 4 * 32 * TYPES["dv_row_threads"] + 1000
    codes, x = Codes(c, 2 * neurons, width, bits, group, zeros), c.floats(width)
    vector, values = planes(c, x, width), c.blank(neurons)
    chosen = c.draw(neurons // 40, neurons)
    fields = dict(neurons=listed(c, chosen, neurons), x=vector, bundle=codes.rows, values=values,
                  counters=c.integers([0, 0]), width=width, padded_width=codes.padded,
                  row_stride=codes.stride, rows_per_neuron=2)
    kernel, threads = f"raise_neurons_i{bits}", TYPES["dv_row_threads"]
    c.card.launch(kernel, (5,), threads, make("up_arguments", **fields), len(vector))
    cuda_stream.check_bits(c, f"int{bits}-g{group}, zeros {zeros}, {len(chosen)} of {neurons}", kernel, threads,
                           chosen, neurons, values, fields, len(vector))


def check(c, group, zeros):
    check_turns(c, 4, group, zeros)
    for bits in (4, 8):
        for part in (check_rows, check_mlp, check_heads, check_others, check_decoding):
            part(c, bits, group, zeros)
