#!/usr/bin/env python3
"""Cuts a golden down to the logits of each case's last positions; ids, losses and greedy tokens stay.

usage: reduce_golden.py GOLDEN_DIR OUT_DIR [ROWS]      ROWS positions per case, 1 unless given
"""
import os, shutil, sys
from safetensors.torch import load_file, save_file

source, target = sys.argv[1:3]
rows = int(sys.argv[3]) if len(sys.argv) > 3 else 1
tensors = load_file(f"{source}/golden.safetensors")
for name, tensor in tensors.items():
    if name.startswith("logits."):
        tensors[name] = tensor[-rows:].clone()
os.makedirs(target, exist_ok=True)
save_file(tensors, f"{target}/golden.safetensors")
shutil.copyfile(f"{source}/golden.json", f"{target}/golden.json")
