#!/usr/bin/env python3
"""Times a decode step of an OPT shape by other means: what `dejavu bench --backend cuda` is compared with.

usage: card_baselines.py [SHAPE] [DEPTH ...]     (SHAPE: opt-1.3b, opt-6.7b, opt-30b; default opt-6.7b 128 1024)
       card_baselines.py --prompts [SHAPE] [TOKENS ...]   the first token's time instead, eager: default 128 to 1024

Random float16 weights, one sequence, a cache of a fixed length of which DEPTH positions are read. In turn: PyTorch
eager, the same step in a CUDA graph (its products are cuBLAS'), every layer compiled with max-autotune in one
CUDA graph, and transformers' OPT with a static cache, eager and compiled. What cannot be had on a machine is
said with its reason. Medians of 50 steps by device events, milliseconds. Needs torch, and transformers for its
rows; the layers' query, key and value products are joined, as a baseline may.
"""
import sys
import time

import torch
import torch.nn.functional as F

SHAPES = {"opt-1.3b": (24, 2048, 32), "opt-6.7b": (32, 4096, 32), "opt-30b": (48, 7168, 56)}
VOCABULARY, STEPS = 50272, 50


def weights(layers, width):
    """One dictionary of matrices a layer, and the head."""
    def matrix(rows, columns):
        return torch.randn(rows, columns, device="cuda", dtype=torch.float16) * 0.02

    def vector(count):
        return torch.zeros(count, device="cuda", dtype=torch.float16)

    made = [
        {
            "norm": (vector(width) + 1, vector(width)), "norm2": (vector(width) + 1, vector(width)),
            "qkv": (matrix(3 * width, width), vector(3 * width)), "out": (matrix(width, width), vector(width)),
            "up": (matrix(4 * width, width), vector(4 * width)),
            "down": (matrix(width, 4 * width), vector(width)),
        }
        for _ in range(layers)
    ]
    return made, matrix(VOCABULARY, width)


def layer_step(x, w, cache, position, depth: int, heads: int):
    """One layer of one token; `cache` is [2, heads, capacity, width of a head]."""
    width = x.shape[-1]
    h = F.layer_norm(x, (width,), *w["norm"])
    q, k, v = F.linear(h, *w["qkv"]).view(3, heads, 1, width // heads)
    cache[0].index_copy_(1, position, k)
    cache[1].index_copy_(1, position, v)
    seen = F.scaled_dot_product_attention(
        q[None], cache[0][None, :, :depth + 1], cache[1][None, :, :depth + 1])
    x = x + F.linear(seen.reshape(1, width), *w["out"])
    h = F.layer_norm(x, (width,), *w["norm2"])
    return x + F.linear(F.relu(F.linear(h, *w["up"])), *w["down"])


def prompt_layer(x, w, own, heads: int):
    """One layer of a prompt; `own` is [2, heads, capacity, width of a head]."""
    tokens, width = x.shape
    h = F.layer_norm(x, (width,), *w["norm"])
    q, k, v = F.linear(h, *w["qkv"]).view(tokens, 3, heads, width // heads).permute(1, 2, 0, 3)
    own[0, :, :tokens], own[1, :, :tokens] = k, v
    seen = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
    x = x + F.linear(seen.transpose(0, 1).reshape(tokens, width), *w["out"])
    h = F.layer_norm(x, (width,), *w["norm2"])
    return x + F.linear(F.relu(F.linear(h, *w["up"])), *w["down"])


def median(run, steps=STEPS):
    """Milliseconds of a step, by device events."""
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    times = []
    for _ in range(steps):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def graphed(step):
    """The step as a replayed CUDA graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def say(name, depth, run, what="depth", steps=STEPS):
    begun = time.time()
    try:
        with torch.inference_mode():
            took = f"{median(run(), steps):8.3f} ms"
    except Exception as error:  # A baseline that does not run here is said, not hidden.
        took = "not had: " + str(error).strip().splitlines()[0][:150]
    print(f"{name:46s} {what} {depth:5d} {took}   ({time.time() - begun:.0f} s)", flush=True)


def torch_rows(layers, width, heads, depths):
    made, head = weights(layers, width)
    cache = torch.zeros(layers, 2, heads, max(depths) + 8, width // heads, device="cuda", dtype=torch.float16)
    x = torch.randn(1, width, device="cuda", dtype=torch.float16)
    for depth in depths:
        position = torch.tensor([depth], device="cuda")

        def stepper(layer):
            def step():
                y = x
                for w, own in zip(made, cache):
                    y = layer(y, w, own, position, depth, heads)
                return F.linear(y, head)
            return step

        say("PyTorch eager", depth, lambda: stepper(layer_step))
        say("cuBLAS in a CUDA graph", depth, lambda: graphed(stepper(layer_step)))
        tuned = torch.compile(layer_step, mode="max-autotune-no-cudagraphs", fullgraph=True)
        say("torch.compile max-autotune in a CUDA graph", depth, lambda: graphed(stepper(tuned)))


def transformers_model(layers, width, heads):
    """transformers' OPT with weights that nobody has set, and its configuration."""
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        vocab_size=VOCABULARY, hidden_size=width, num_hidden_layers=layers, ffn_dim=4 * width,
        num_attention_heads=heads, max_position_embeddings=2048, word_embed_proj_dim=width)
    torch.set_default_dtype(torch.float16)
    with torch.device("cuda"):
        torch.nn.init.normal_ = lambda tensor, *_, **__: tensor
        return OPTForCausalLM(config).eval(), config


def prompt_rows(layers, width, heads, prompts):
    """The first token of prompts: PyTorch eager, then transformers' OPT; cuBLAS multiplies in both."""
    made, head = weights(layers, width)
    cache = torch.zeros(layers, 2, heads, max(prompts), width // heads, device="cuda", dtype=torch.float16)
    for tokens in prompts:
        x = torch.randn(tokens, width, device="cuda", dtype=torch.float16)

        def step():
            y = x
            for w, own in zip(made, cache):
                y = prompt_layer(y, w, own, heads)
            return F.linear(y[-1:], head)
        say("PyTorch eager", tokens, lambda: step, "prompt", 15)
    del made, head, cache
    torch.cuda.empty_cache()
    try:
        model = transformers_model(layers, width, heads)[0]
        # What is multiplied counts: zeros take less power.
        for parameter in model.parameters():
            parameter.data.normal_(0, 0.02)
    except Exception as error:
        return print("transformers: not had: " + str(error).strip().splitlines()[0][:200], flush=True)
    for tokens in prompts:
        ids = torch.zeros(1, tokens, dtype=torch.long, device="cuda")
        say("transformers OPT eager", tokens,
            lambda: lambda: model(ids, use_cache=True, logits_to_keep=1), "prompt", 15)


def transformers_rows(layers, width, heads, depths):
    from transformers import StaticCache

    model, config = transformers_model(layers, width, heads)
    for depth in depths:
        cache = StaticCache(config=config, max_cache_len=depth + 4 * STEPS)
        token = torch.zeros(1, 1, dtype=torch.long, device="cuda")
        prompt = torch.zeros(1, depth, dtype=torch.long, device="cuda")
        position = torch.tensor([depth], device="cuda")

        def prepared(forward):
            model(prompt, past_key_values=cache, use_cache=True, cache_position=torch.arange(depth, device="cuda"))
            return lambda: forward(
                token, past_key_values=cache, use_cache=True, cache_position=position,
                position_ids=position[None])

        say("transformers OPT eager, static cache", depth, lambda: prepared(model))
        compiled = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True)
        say("transformers OPT compiled, static cache", depth, lambda: prepared(compiled))


def main():
    arguments = [each for each in sys.argv[1:] if each != "--prompts"]
    shape = arguments[0] if arguments else "opt-6.7b"
    depths = [int(each) for each in arguments[1:]]
    if shape not in SHAPES:
        sys.exit(f"no shape '{shape}'; take one of {', '.join(SHAPES)}")
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, {shape}, float16", flush=True)
    if "--prompts" in sys.argv:
        return prompt_rows(*SHAPES[shape], depths or [128, 256, 512, 1024])
    depths = depths or [128, 1024]
    torch_rows(*SHAPES[shape], depths)
    torch.cuda.empty_cache()
    try:
        transformers_rows(*SHAPES[shape], depths)
    except Exception as error:
        print("transformers: not had: " + str(error).strip().splitlines()[0][:200], flush=True)


if __name__ == "__main__":
    main()
