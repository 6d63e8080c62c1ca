#!/usr/bin/env python3
"""Makes the published checkpoints of this folder, with what transformers says about them in float32.

    make_published.py OUT          needs torch and transformers

Each folder of OUT gets a seeded random model in codes, written by Scripts/publish_codes.py, and
golden.safetensors: ids, the last logits, losses and greedy tokens of three texts from the float32 model
that the codes stand for, and rows of every such matrix, `weight.NAME` `[rows, inputs]`, with their numbers
in `rows.NAME`.
"""
import os
import sys
import tempfile

import torch
import transformers
from safetensors.torch import save_file

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../Scripts"))
import publish_codes

OPT = dict(hidden_size=64, ffn_dim=256, num_hidden_layers=2, num_attention_heads=4, vocab_size=320,
           max_position_embeddings=128, word_embed_proj_dim=64, activation_function="relu")
LLAMA = dict(hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, vocab_size=320, max_position_embeddings=256, hidden_act="relu")
MODELS = {
    # Zeros of their own, groups of a head of neurons and of half of the heads' columns.
    "opt-gptq": (transformers.OPTConfig(**OPT), ["gptq", "--group", "32"]),
    # Grouped queries and a head of its own.
    "llama-awq": (transformers.LlamaConfig(**LLAMA), ["awq", "--group", "32"]),
    # One scale for all inputs, whose number no group divides.
    "llama-gptq-8bit": (
        transformers.LlamaConfig(**dict(LLAMA, intermediate_size=176, num_hidden_layers=1)),
        ["gptq_v2", "--bits", "8", "--group", "-1", "--symmetric"]),
}


def golden(model, floats):
    """Tensors of the golden file."""
    tensors = {}
    generator = torch.Generator().manual_seed(11)
    for case, length in enumerate((1, 7, 48)):
        ids = torch.randint(4, 320, (1, length), generator=generator)
        with torch.no_grad():
            logits = model(ids).logits[0].float()
            tokens = ids
            for _ in range(12):
                best = model(tokens).logits[:, -1].argmax(-1, keepdim=True)
                tokens = torch.cat([tokens, best], 1)
        tensors[f"ids.{case}"] = ids[0].clone()
        tensors[f"nll.{case}"] = torch.nn.functional.cross_entropy(
            logits[:-1], ids[0, 1:], reduction="none")
        tensors[f"logits.{case}"] = logits[-3:].clone()
        tensors[f"greedy.{case}"] = tokens[0, length:].clone()
    for name, weight in floats.items():
        if name.removesuffix(".weight").rsplit(".", 1)[-1] in publish_codes.LINEAR and weight.ndim == 2:
            rows = torch.arange(0, len(weight), max(len(weight) // 6, 1))
            tensors[f"rows.{name}"] = rows
            tensors[f"weight.{name}"] = torch.from_numpy(weight)[rows].contiguous()
    return tensors


def make(out):
    for name, (config, arguments) in MODELS.items():
        torch.manual_seed(7)
        config.attn_implementation = "eager"
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
                else:
                    parameter.mul_(3.0)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(f"{folder}/source")
            options = publish_codes.parser().parse_args(
                [f"{folder}/source", f"{out}/{name}", *arguments, "--floats", f"{folder}/floats"])
            floats = publish_codes.publish(options.source, options.target, options)
            plain = transformers.AutoModelForCausalLM.from_pretrained(
                f"{folder}/floats", dtype=torch.float32, attn_implementation="eager").eval()
            save_file(golden(plain, floats), f"{out}/{name}/golden.safetensors")


if len(sys.argv) != 2:
    raise SystemExit(__doc__)
make(sys.argv[1])
