"""Checks of the kernels that train predictors; part of cuda_kernels.py."""

import torch

from cuda_card import make


def check(c):
    for tokens, rows in [(3, 40), (40, 300)]:
        check_loss(c, tokens, rows, (rows + 15) // 16 * 16)
    check_shapes(c)
    check_adam(c)


def check_loss(c, tokens, rows, stride):
    what = f"differentiate_logits {tokens} x {rows}"
    codes = torch.randint(0, 256, (tokens, rows), generator=c.random).to(torch.uint8)
    codes = codes.to(c.card.device)
    counts = torch.zeros(256, dtype=torch.int32, device=c.card.device)
    c.card.launch("count_codes", (3,), 256, make(
        "count_arguments", codes=codes, counts=counts, count=tokens * rows))
    c.same(f"count_codes {tokens} x {rows}", counts,
           torch.bincount(codes.flatten().int(), minlength=256).int())
    logits, weights = c.floats(tokens, stride, spread=4.0), c.floats(256).abs()
    shown, losses, positive = 2, c.blank(2, 2), 100
    z, y = logits[:, :rows].double(), (codes >= positive).double()
    w = weights.double()[codes.long()]
    c.card.launch("differentiate_logits", (tokens,), 256, make(
        "loss_arguments", logits=logits, codes=codes, weights=weights, losses=losses, rows=rows,
        stride=stride, shown=shown, positive=positive))
    c.compare(what, logits[:, :rows], w * (torch.sigmoid(z) - y))
    c.same(f"{what}: what is not there", logits[:, rows:], torch.zeros_like(logits[:, rows:]))
    loss = (w * (torch.nn.functional.softplus(z) - y * z))[:shown].sum(1)
    c.compare(f"{what}: loss", losses, torch.stack([loss, w[:shown].sum(1)], 1))


def check_shapes(c):
    tokens, width, stride = 37, 75, 80
    values, sums = c.floats(tokens, stride), c.blank(width)
    c.card.launch("sum_tokens", (1,), 256, make(
        "sum_arguments", values=values, out=sums, tokens=tokens, width=width, stride=stride))
    c.compare("sum_tokens", sums, values[:, :width].double().sum(0))
    turned = c.blank(width, 40)
    c.card.launch("transpose_rows", (3, 2), 256, make(
        "transpose_arguments", values=values, out=turned, tokens=tokens, width=width,
        stride=stride, out_stride=40))
    c.same("transpose_rows", turned[:, :tokens], values[:, :width].T)


def check_adam(c):
    count, decaying = 1000, 900
    values, first, gradient = c.floats(count), c.floats(count), c.floats(count)
    second = c.floats(count).abs()
    rate, decay, beta1, beta2, correction = 0.01, 0.003, 0.9, 0.99, 0.2
    m = beta1 * first.double() + (1 - beta1) * gradient.double()
    v = beta2 * second.double() + (1 - beta2) * gradient.double() ** 2
    shrunk = values.double()
    shrunk[:decaying] *= 1 - decay
    expected = shrunk - rate * m / ((v / correction).sqrt() + 1e-12)
    c.card.launch("step_weights", (2,), 256, make(
        "adam_arguments", values=values, first=first, second=second, gradient=gradient,
        count=count, decaying=decaying, rate=rate, decay=decay, beta1=beta1, beta2=beta2,
        correction=correction))
    for name, got, wanted in [("values", values, expected), ("first", first, m),
                              ("second", second, v)]:
        c.compare(f"step_weights: {name}", got, wanted)
