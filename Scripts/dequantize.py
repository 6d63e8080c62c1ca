#!/usr/bin/env python3
"""Writes a folder of 'dejavu quantize' as a float32 checkpoint: python3 dequantize.py FROM TO.

An independent reader of the layout in Documentation/Quantized.md, for OPT; needs numpy and
safetensors.
"""
import glob
import json
import os
import shutil
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

NAMES = {
    "attention.query": ("self_attn.q_proj", False), "attention.key": ("self_attn.k_proj", False),
    "attention.value": ("self_attn.v_proj", False), "attention.output": ("self_attn.out_proj", True),
    "mlp.up": ("fc1", False), "mlp.down": ("fc2", True),
}


def dequantize(tensors, name, form, columns):
    """[rows, columns] floats: (code - zero) * scale."""
    bits, group = form["bits"], form["group_size"]
    packed = np.unpackbits(tensors[name + ".codes"], axis=1, bitorder="little")
    packed = packed[:, : columns * bits].reshape(len(packed), columns, bits)
    codes = (packed * (1 << np.arange(bits))).sum(axis=2).astype(np.float32)
    scales = np.repeat(tensors[name + ".scales"].astype(np.float32), group, axis=1)[:, :columns]
    zeros = np.float32(((1 << bits) - 1) / 2)
    if not form["symmetric"]:
        zeros = np.repeat(tensors[name + ".zeros"].astype(np.float32), group, axis=1)[:, :columns]
    return (codes - zeros) * scales


def main(source, target):
    with open(f"{source}/config.json") as file:
        config = json.load(file)
    form = config.pop("quantization_config")
    tensors = {}
    for path in glob.glob(f"{source}/*.safetensors"):
        tensors.update(load_file(path))
    plain = {k: v for k, v in tensors.items()
             if not k.endswith((".codes", ".scales", ".zeros"))}
    prefix = "model.decoder."
    for name in [k[: -len(".codes")] for k in tensors if k.endswith(".codes")]:
        if name == "embed.tokens":
            plain[prefix + "embed_tokens.weight"] = dequantize(
                tensors, name, form["embedding"], config["word_embed_proj_dim"])
            continue
        _, layer, rest = name.split(".", 2)
        part, turned = NAMES[rest]
        matrix = dequantize(tensors, name, form["blocks"], config["hidden_size"])
        plain[f"{prefix}layers.{layer}.{part}.weight"] = np.ascontiguousarray(
            matrix.T if turned else matrix)
    os.makedirs(target)
    config["torch_dtype"] = "float32"
    with open(f"{target}/config.json", "w") as file:
        json.dump(config, file)
    for name in ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
                 "special_tokens_map.json", "generation_config.json"]:
        if os.path.exists(f"{source}/{name}"):
            shutil.copy(f"{source}/{name}", target)
    save_file(plain, f"{target}/model.safetensors", metadata={"format": "pt"})


main(*sys.argv[1:])
