#!/usr/bin/env python3
"""Reads folders of 'dejavu quantize' and 'dejavu pack' without DejaVu; needs numpy and safetensors.

    dequantize.py FROM TO          writes the folder FROM as a float32 checkpoint (OPT only)
    dequantize.py --golden FILE    writes random rows of every format and the weights they stand for

An independent reader of the layout in Documentation/Packed.md: what the golden says, the engine's own
reader is tested against.
"""
import glob
import json
import os
import re
import shutil
import sys

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

BLOCK = 128
# Bits of the planes of a block, the one with the high bits first.
PLANES = {2: [2], 3: [2, 1], 4: [4], 6: [4, 2], 8: [8]}
NAMES = {
    "attention.query": ("self_attn.q_proj.weight", False),
    "attention.key": ("self_attn.k_proj.weight", False),
    "attention.value": ("self_attn.v_proj.weight", False),
    "attention.output": ("self_attn.out_proj.weight", True),
    "attention.query_bias": ("self_attn.q_proj.bias", False),
    "attention.key_bias": ("self_attn.k_proj.bias", False),
    "attention.value_bias": ("self_attn.v_proj.bias", False),
    "attention.output_bias": ("self_attn.out_proj.bias", False),
    "attention.norm.weight": ("self_attn_layer_norm.weight", False),
    "attention.norm.bias": ("self_attn_layer_norm.bias", False),
    "mlp.norm.weight": ("final_layer_norm.weight", False),
    "mlp.norm.bias": ("final_layer_norm.bias", False),
    "mlp.up_bias": ("fc1.bias", False), "mlp.down_bias": ("fc2.bias", False),
}
ENDS = {
    "embed.tokens": "model.decoder.embed_tokens.weight",
    "embed.positions": "model.decoder.embed_positions.weight",
    "project.in": "model.decoder.project_in.weight",
    "project.out": "model.decoder.project_out.weight",
    "final_norm.weight": "model.decoder.final_layer_norm.weight",
    "final_norm.bias": "model.decoder.final_layer_norm.bias",
    "head": "lm_head.weight",
}


def parse(name):
    """Bits, group and whether groups have zeros, of a format such as int4-g64-zeros."""
    match = re.fullmatch(r"int([23468])-g(32|64|128)(-zeros)?", name)
    if not match:
        raise SystemExit(f"no format is called '{name}'")
    return int(match[1]), int(match[2]), bool(match[3])


def codes_of(rows, bits, columns):
    """[rows, columns] codes from [rows, blocks · 16 · bits] bytes."""
    blocks = rows.reshape(len(rows), -1, 16 * bits)
    codes = np.zeros((len(rows), blocks.shape[1], BLOCK), np.int32)
    start, below = 0, bits
    for width in PLANES[bits]:
        below -= width
        for c in range(BLOCK):
            place = 16 * (c % 16 // 4) + 4 * (c % 64 // 16) + c % 4
            if width == 8:
                byte, shift = 64 * (c // 64) + place, 0
            else:
                byte = place % (16 * width)
                shift = 2 * width * (place // (16 * width)) + width * (c // 64)
            part = blocks[:, :, start + byte].astype(np.int32) >> shift & (1 << width) - 1
            codes[:, :, c] |= part << below
        start += 16 * width
    return codes.reshape(len(rows), -1)[:, :columns]


def dequantize(rows, name, columns):
    """[rows, columns] weights, (code − zero) · scale, from [rows, row bytes]."""
    bits, group, has_zeros = parse(name)
    blocks = -(-columns // BLOCK)
    groups = blocks * BLOCK // group
    code_bytes = blocks * 16 * bits
    zero_size = (2 if bits == 8 else 1) if has_zeros else 0
    assert rows.shape[1] == -(-(code_bytes + groups * (2 + zero_size)) // 4) * 4, rows.shape
    scales_end = code_bytes + 2 * groups
    scales = np.ascontiguousarray(rows[:, code_bytes:scales_end]).view("<f2").astype(np.float32)
    zeros = np.full(scales.shape, ((1 << bits) - 1) / 2, np.float32)
    if has_zeros:
        stored = np.ascontiguousarray(rows[:, scales_end:scales_end + groups * zero_size])
        zeros = stored.view("<u2" if bits == 8 else "u1").astype(np.float32) / 2
    spread = [np.repeat(x, group, axis=1)[:, :columns] for x in (scales, zeros)]
    codes = codes_of(rows[:, :code_bytes], bits, columns).astype(np.float32)
    return (codes - spread[1]) * spread[0]


def shared(rows, name, scales, scales_name, columns):
    """[rows, columns] weights of rows of codes that share scales of a format such as int4-r128."""
    bits, _, _ = parse(name)
    match = re.fullmatch(r"int([48])-r(\d+)", scales_name)
    assert match and int(match[1]) == bits, scales_name
    codes = codes_of(rows[:, :-(-columns // BLOCK) * 16 * bits], bits, columns).astype(np.float32)
    padded = -(-columns // BLOCK) * BLOCK
    halves, zeros = scales[:, :2 * padded], scales[:, 2 * padded:]
    scale = np.ascontiguousarray(halves).view("<f2").astype(np.float32)[:, :columns]
    zero = np.ascontiguousarray(zeros).view("<u2" if bits == 8 else "u1").astype(np.float32) / 2
    group = np.arange(len(rows)) // int(match[2])
    return (codes - zero[group, :columns]) * scale[group]


def floats(tensor, formats, name, columns, scales=None):
    """A tensor as [..., columns] floats; `scales` are a tensor and the name of its format."""
    if name not in formats:
        return tensor.astype(np.float32)[..., :columns]
    flat = tensor.reshape(-1, tensor.shape[-1])
    if scales:
        return shared(flat, formats[name], *scales, columns)
    return dequantize(flat, formats[name], columns).reshape(*tensor.shape[:-1], columns)


def read(folder):
    """Tensors by name, formats by the names of groupwise tensors, and the source's fingerprint."""
    tensors, formats, fingerprint = {}, {}, ""
    for path in sorted(glob.glob(f"{folder}/packed*.safetensors")):
        tensors.update(load_file(path))
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            fingerprint = metadata.get("dejavu.fingerprint", fingerprint)
            for key, value in metadata.items():
                if key.startswith("dejavu.format."):
                    formats[key[len("dejavu.format."):]] = value
    return tensors, formats, fingerprint


def checkpoint(config, tensors, formats):
    """The tensors of an OPT checkpoint."""
    hidden, embedding = config["hidden_size"], config["word_embed_proj_dim"]
    result = {}
    for name, tensor in tensors.items():
        width = embedding if name in ("embed.tokens", "project.in", "head") else hidden
        if name in ENDS:
            result[ENDS[name]] = floats(tensor, formats, name, width)
            continue
        _, layer, rest = name.split(".", 2)
        prefix = f"model.decoder.layers.{layer}."
        if rest.endswith("_scales"):
            continue
        # Rows of W_O and W2 that share scales have them in a tensor of their own.
        own = f"layers.{layer}." + ("mlp.down" if rest == "mlp.bundle" else rest) + "_scales"
        scales = (tensors[own], formats[own]) if own in tensors else None
        if rest == "mlp.bundle":
            bundle = floats(tensor, formats, name, hidden)
            down = floats(tensor[:, 1], formats, name, hidden, scales) if scales else bundle[:, 1]
            result[prefix + "fc1.weight"] = bundle[:, 0]
            result[prefix + "fc2.weight"] = down.T
            continue
        part, turned = NAMES[rest]
        width = config["ffn_dim"] if rest == "mlp.up_bias" else hidden
        matrix = floats(tensor, formats, name, width, scales)
        result[prefix + part] = matrix.T if turned else matrix
    return {name: np.ascontiguousarray(tensor) for name, tensor in result.items()}


def convert(source, target):
    with open(f"{source}/config.json") as file:
        config = json.load(file)
    if config["model_type"] != "opt":
        raise SystemExit(f"only OPT's names are known here, not those of {config['model_type']}")
    tensors, formats, fingerprint = read(source)
    os.makedirs(target)
    # With the source's fingerprint its predictors fit the copy.
    save_file(
        checkpoint(config, tensors, formats), f"{target}/model.safetensors",
        metadata={"format": "pt", "dejavu.fingerprint": fingerprint})
    config["torch_dtype"] = "float32"
    with open(f"{target}/config.json", "w") as file:
        json.dump(config, file)
    for name in ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
                 "special_tokens_map.json", "generation_config.json"]:
        if os.path.exists(f"{source}/{name}"):
            shutil.copy(f"{source}/{name}", target)


def golden(path, rows=2, columns=200):
    """Random bytes are valid codes and zeros; only scales have to be finite."""
    random = np.random.default_rng(5)
    tensors = {}
    for bits in PLANES:
        for group in (32, 64, 128):
            for zeros in ("", "-zeros"):
                name = f"int{bits}-g{group}{zeros}"
                blocks = -(-columns // BLOCK)
                groups, code_bytes = blocks * BLOCK // group, blocks * 16 * bits
                size = code_bytes + groups * (2 + ((2 if bits == 8 else 1) if zeros else 0))
                stored = random.integers(0, 256, (rows, -(-size // 4) * 4), np.uint8)
                scales = random.uniform(0.001, 2, (rows, groups)).astype("<f2")
                stored[:, code_bytes:code_bytes + 2 * groups] = scales.view(np.uint8)
                tensors["stored." + name] = stored
                tensors["weights." + name] = dequantize(stored, name, columns)
    save_file(tensors, path)


if len(sys.argv) != 3:
    raise SystemExit(__doc__)
if sys.argv[1] == "--golden":
    golden(sys.argv[2])
else:
    convert(sys.argv[1], sys.argv[2])
