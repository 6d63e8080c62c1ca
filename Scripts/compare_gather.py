#!/usr/bin/env python3
"""Measures PyTorch's gathered products as `dejavu bench --gather` measures ours.

usage: compare_gather.py [--shape opt-1.3b] [--threads N] [--dtype float32] [--rounds 5]
                         [--density D ...]

One token's MLP over a random share of the neurons: W1 `[F, D]`; W2 as `[F, D]` (layout rows) or as
checkpoints have it, `[D, F]` (layout columns). `copied` is index_select and a product of the copy,
`dense` the product of everything. As many layers as fill half a GiB are gone through in turn, and
another set is drawn every time. Needs torch (CPU).
"""
import argparse, statistics, time
import torch

SHAPES = {
    "opt-125m": 768, "opt-350m": 1024, "opt-1.3b": 2048, "opt-2.7b": 2560, "opt-6.7b": 4096,
    "opt-13b": 5120, "opt-30b": 7168, "opt-66b": 9216, "opt-175b": 12288,
}


def dense(x, w1, b1, w2, rows):
    hidden = torch.relu(torch.addmv(b1, w1, x))
    return hidden @ w2 if rows else w2 @ hidden


def copied(x, w1, b1, w2, rows, chosen):
    hidden = torch.relu(torch.addmv(b1[chosen], w1.index_select(0, chosen), x))
    return hidden @ w2.index_select(0, chosen) if rows else w2.index_select(1, chosen) @ hidden


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="opt-1.3b")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--density", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.3, 0.5])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    width, dtype = SHAPES[options.shape], getattr(torch, options.dtype)
    neurons, size = 4 * width, torch.empty((), dtype=dtype).element_size()
    layers = max(1, -(-(1 << 29) // (2 * width * neurons * size)))
    scale = (3 / width) ** 0.5
    make = lambda *shape: ((torch.rand(*shape) * 2 - 1) * scale).to(dtype)
    w1, rows, columns = [], [], []
    for _ in range(layers):
        w1.append(make(neurons, width))
        rows.append(make(neurons, width))
        columns.append(rows[-1].T.contiguous())
    # So high that every neuron is active, as in our own measurement.
    b1 = torch.full((neurons,), 8.0, dtype=dtype)
    x = ((torch.rand(width) * 2 - 1) * 3**0.5).to(dtype)

    print(f"torch {torch.__version__}, {options.threads} threads, {options.shape} "
          f"{width} x {neurons}, {options.dtype}, {layers} layers, {options.rounds} rounds")
    print(f"{'density':>8}  {'layout':<8} {'method':<7} {'ms':>8} {'p95':>8} {'MB moved':>9}")
    times = {}
    for turn in range(options.rounds + 1):
        for density in options.density:
            count = round(density * neurons)
            for layout, second in (("rows", rows), ("columns", columns)):
                for method in ("dense", "copied"):
                    for layer in range(layers):
                        chosen = torch.randperm(neurons)[:count].sort().values
                        arguments = (x, w1[layer], b1, second[layer], layout == "rows")
                        start = time.perf_counter()
                        if method == "dense":
                            dense(*arguments)
                        else:
                            copied(*arguments, chosen)
                        elapsed = 1000 * (time.perf_counter() - start)
                        # The first turn makes threads and buffers.
                        if turn:
                            times.setdefault((density, layout, method), []).append(elapsed)
    for (density, layout, method), taken in times.items():
        count, row = round(density * neurons), width * size
        if method == "dense":
            moved = 2 * neurons * row
        elif layout == "rows":
            moved = 3 * 2 * count * row
        else:
            # Cache lines of W2 that hold at least one chosen column, in the mean.
            lines = neurons * size / 64 * (1 - (1 - density) ** (64 / size))
            moved = 3 * count * row + 64 * lines * width + 2 * count * row
        taken.sort()
        p95 = taken[min(len(taken) - 1, int(0.95 * len(taken)))]
        print(f"{density:8.2f}  {layout:<8} {method:<7} {statistics.median(taken):8.3f} {p95:8.3f} "
              f"{moved / 1e6:9.1f}")


main()
