"""Checks that one launch adds a stream up and prepares it as two do; part of cuda_kernels.py."""

import torch

from cuda_card import arranged, eighth_bytes, make, plane_bytes


def check_bits(c, what, kernel, threads, chosen, neurons, values, fields, shared):
    """Rows that are raised from bits are those of the list, whose count nobody has written yet."""
    bits = torch.zeros(-(-neurons // 32), 32, dtype=torch.int64)
    bits.view(-1)[chosen.long().cpu()] = 1
    words = (bits << torch.arange(32)).sum(1).to(torch.uint32).view(torch.int32).to(c.card.device)
    raised, blocks = c.blank(neurons), 5
    entries = -(-neurons // (4 * blocks)) * 4
    rows = make("choice", count=c.blank(1, dtype=torch.int32), list=c.blank(neurons, dtype=torch.int32),
                all=neurons, stride=neurons)
    c.card.launch(kernel, (blocks,), threads, make("up_arguments", **fields | dict(
        neurons=rows, bits=words, values=raised, counters=c.integers([0, 0]), entries=entries)),
        shared + 4 * entries)
    c.same(f"{kernel} {what}: from bits", raised[:len(chosen)], values[:len(chosen)])


def vectors(c, width, coded):
    """Memory for what three readers want: halves behind a norm, floats, and 8 bits; or planes."""
    wide, columns = arranged(width), (width + 127) // 128 * 128
    made = [dict(kept=c.blank(wide, dtype=torch.float16)), dict(floats=c.blank(wide)),
            dict(rounded=torch.zeros(eighth_bytes(columns), dtype=torch.uint8, device=c.card.device))]
    if coded:
        made[1] = dict(planes=torch.zeros(plane_bytes(width), dtype=torch.uint8,
                                          device=c.card.device))
    return made


def jobs(c, x, width, norms, forms):
    columns = (width + 127) // 128 * 128
    return [make("prepare_job", norm=norm, x=x, width=width, x_stride=width, by_eight=1, columns=columns,
                 rounded_stride=eighth_bytes(columns), **form)
            for norm, form in zip(norms, forms)]


def check(c, alone, coded=False):
    """`alone`: one block has all columns, where blocks run one after the other."""
    for width, slices, kind in [(4096 // c.scale, 49 // c.scale, 1), (7168 // c.scale, 28, 2),
                                (1000, 3, 1), (12288 // c.scale, 21, 1), (300, 1, 2)]:
        if not alone or arranged(width) <= 1024:
            check_width(c, arranged(width) if alone else 128, width, slices, kind, coded)


def check_width(c, columns, width, slices, kind, coded):
    parts, stream, bias = c.floats(slices, arranged(width)), c.floats(width), c.floats(width)
    weight, offset, count = c.floats(width), c.floats(width), -(-width // 128)
    bits = torch.randint(-2**31, 2**31, (50,), generator=c.random).int().to(c.card.device)
    blocks = arranged(width) // columns
    marks = torch.zeros(2, count * 2, dtype=torch.int64, device=c.card.device)
    marks[1] = -1
    results = []
    for joined in (False, True):
        x, tiles = stream.clone(), c.blank(count, 2)
        counts, lists = c.blank(1, dtype=torch.int32), c.blank(1600, dtype=torch.int32)
        sum_of = make("add_arguments", x=x, parts=parts, bias=bias, tiles=tiles, width=width, stride=width,
                      slices=slices, part_stride=parts.shape[1], lists=[
                          make("list_job", bits_above=bits, count=counts, list=lists, rows=1600)])
        norms = [make("norm", weight=weight, bias=offset if kind == 1 else 0, tiles=tiles, epsilon=1e-5,
                      kind=kind, tile_width=128), make("norm"),
                 make("norm", tiles=tiles, epsilon=1e-6, kind=2, tile_width=128)]
        forms = vectors(c, width, coded)
        made = jobs(c, x, width, norms, forms)
        if joined:
            c.card.launch("renew_stream", (blocks + 1,), 512, make(
                "renew_arguments", sum=sum_of, jobs=made, job_count=len(made), blocks=blocks,
                columns=columns, marks=marks[0], next_marks=marks[1]), 4 * columns * (17 + 2))
        else:
            c.card.launch("add_parts", (count + 1, 1), 512, sum_of)
            c.card.launch("prepare_vectors", (len(made), 1, 4), 1024,
                          make("prepare_arguments", jobs=made), 3 * 4 * arranged(width))
        c.card.wait()
        results.append([x, tiles, counts, lists[:int(counts[0])]] +
                       [each for form in forms for each in form.values()])
    c.same(f"renew_stream {width}: the next launch's marks", marks[1], torch.zeros_like(marks[1]))
    for place, (one, two) in enumerate(zip(*results)):
        c.same(f"renew_stream {width}, {slices} slices, kind {kind}, coded {coded}: result {place}",
               two.view(torch.uint8), one.view(torch.uint8))
