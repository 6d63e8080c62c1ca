#!/usr/bin/env python3
"""Writes a checkpoint in 4 or 8 bits as the Hugging Face Hub knows them; needs numpy and safetensors.

    publish_codes.py FROM TO METHOD [--bits 4] [--group 128] [--symmetric] [--floats FOLDER]

METHOD is gptq (AutoGPTQ's first format, whose zeros are stored less one), gptq_v2 or awq (AutoAWQ's
GEMM). Linear layers of OPT and Llama-like models are rounded to the nearest code between the least and
the greatest weight of each group of inputs; everything else becomes float16. --floats also writes what
the codes stand for, in float32. The codes are no better than those of 'dejavu quantize --method rtn': this
is a writer of the layouts that shares no code with their reader, to test it with.
"""
import argparse
import glob
import json
import os
import shutil

import numpy as np
from safetensors.numpy import load_file, save_file

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "fc1", "fc2", "gate_proj", "up_proj",
          "down_proj")
COMPANIONS = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt",
              "special_tokens_map.json", "generation_config.json")
# The column of eight that nibble i of a word holds.
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def rounded(weight, bits, group, symmetric):
    """Codes [in, out], scales [groups, out] in half precision and zeros [groups, out] of [out, in]."""
    inputs = weight.shape[1]
    parts = weight.T.astype(np.float32).reshape(inputs // group, group, -1)
    most = (1 << bits) - 1
    if symmetric:
        scale = np.abs(parts).max(1) * 2 / most
        zero = np.full(scale.shape, 1 << (bits - 1))
    else:
        low, high = np.minimum(parts.min(1), 0), np.maximum(parts.max(1), 0)
        scale = (high - low) / most
        # The first GPTQ format cannot hold a zero of 0.
        zero = np.clip(np.rint(-low / np.maximum(scale, 1e-8)), 1, most)
    scale = np.maximum(scale, 1e-4).astype(np.float16)
    codes = np.clip(np.rint(parts / scale[:, None].astype(np.float32)) + zero[:, None], 0, most)
    return codes.reshape(inputs, -1).astype(np.uint32), scale, zero.astype(np.uint32)


def along_rows(values, bits):
    """[n, m] numbers in words of [n · bits / 32, m], the first in the lowest bits."""
    per = 32 // bits
    words = np.zeros((len(values) // per, values.shape[1]), np.uint32)
    for i in range(per):
        words |= values[i::per] << np.uint32(bits * i)
    return words.view(np.int32)


def along_columns(values, bits, order):
    """[n, m] numbers in words of [n, m · bits / 32], number order[i] of each in nibble i."""
    per = 32 // bits
    words = np.zeros((len(values), values.shape[1] // per), np.uint32)
    for i in range(per):
        words |= values[:, order[i]::per] << np.uint32(bits * i)
    return np.ascontiguousarray(words).view(np.int32)


def published(name, weight, options):
    """The tensors of one linear layer, and the weights that they stand for, [out, in]."""
    group = weight.shape[1] if options.group < 0 else options.group
    assert weight.shape[1] % group == 0, f"{name}: {weight.shape[1]} inputs in groups of {group}"
    codes, scale, zero = rounded(weight, options.bits, group, options.symmetric)
    straight = range(32 // options.bits)
    tensors = {f"{name}.scales": scale}
    if options.method == "awq":
        tensors[f"{name}.qweight"] = along_columns(codes, options.bits, AWQ_ORDER)
        tensors[f"{name}.qzeros"] = along_columns(zero, options.bits, AWQ_ORDER)
    else:
        less = 1 if options.method == "gptq" else 0
        tensors[f"{name}.qweight"] = along_rows(codes, options.bits)
        tensors[f"{name}.qzeros"] = along_columns(zero - np.uint32(less), options.bits, straight)
        tensors[f"{name}.g_idx"] = (np.arange(len(codes)) // group).astype(np.int32)
    wide = [np.repeat(x.astype(np.float32), group, 0) for x in (zero, scale)]
    return tensors, ((codes.astype(np.float32) - wide[0]) * wide[1]).T


def description(options):
    """quantization_config."""
    if options.method == "awq":
        return {"quant_method": "awq", "bits": options.bits, "group_size": options.group,
                "version": "gemm", "zero_point": True, "modules_to_not_convert": None}
    return {"quant_method": "gptq", "bits": options.bits, "group_size": options.group,
            "desc_act": False, "sym": options.symmetric, "checkpoint_format": options.method}


def publish(source, target, options):
    """Writes the folder; returns the weights by the names that they had."""
    weights = {}
    for path in sorted(glob.glob(f"{source}/model*.safetensors")):
        weights.update(load_file(path))
    tensors, floats = {}, {}
    for name, weight in weights.items():
        module = name.removesuffix(".weight")
        if name != module and weight.ndim == 2 and module.rsplit(".", 1)[-1] in LINEAR:
            parts, floats[name] = published(module, weight, options)
            tensors.update(parts)
        else:
            tensors[name] = weight.astype(np.float16)
            floats[name] = tensors[name].astype(np.float32)
    with open(f"{source}/config.json") as file:
        config = json.load(file)
    write(source, target, tensors, dict(config, quantization_config=description(options)))
    if options.floats:
        write(source, options.floats, floats, dict(config, torch_dtype="float32", dtype="float32"))
    return floats


def write(source, target, tensors, config):
    os.makedirs(target, exist_ok=True)
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(tensors, f"{target}/model.safetensors", metadata={"format": "pt"})
    with open(f"{target}/config.json", "w") as file:
        json.dump(config, file, indent=1)
        file.write("\n")
    for name in COMPANIONS:
        if os.path.exists(f"{source}/{name}"):
            shutil.copy(f"{source}/{name}", target)


def parser():
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("source", metavar="FROM")
    made.add_argument("target", metavar="TO")
    made.add_argument("method", metavar="METHOD", choices=("gptq", "gptq_v2", "awq"))
    made.add_argument("--bits", type=int, default=4, choices=(4, 8))
    made.add_argument("--group", type=int, default=128)
    made.add_argument("--symmetric", action="store_true")
    made.add_argument("--floats", metavar="FOLDER")
    return made


if __name__ == "__main__":
    given = parser().parse_args()
    publish(given.source, given.target, given)
