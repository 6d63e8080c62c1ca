"""Writes the files of this folder with a real PyTorch: python make_pickles.py TINY_OPT_FOLDER

Made with torch 2.15.0, transformers 5.23.0, safetensors and Python 3.11. TINY_OPT_FOLDER holds
config.json and model.safetensors of a tiny seeded OPT. expected.json lists, for every file that
must load, each tensor's name, PyTorch's word for its type, its shape and the CRC-32 of its bytes
in row-major order; for tiny-opt.bin the bytes come from model.safetensors, so they do not pass
through torch.save. The hostile files here only create a file named /tmp/dejavu-pickle-was-executed
if something executes them.
"""

import json
import os
import sys
import zlib
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import OPTForCausalLM

HERE = Path(__file__).parent
MARKER = "/tmp/dejavu-pickle-was-executed"
WORDS = {
    torch.float64: "DoubleStorage",
    torch.float32: "FloatStorage",
    torch.float16: "HalfStorage",
    torch.bfloat16: "BFloat16Storage",
    torch.int64: "LongStorage",
    torch.int32: "IntStorage",
    torch.int16: "ShortStorage",
    torch.int8: "CharStorage",
    torch.uint8: "ByteStorage",
    torch.bool: "BoolStorage",
    torch.uint16: "uint16",
    torch.float8_e4m3fn: "float8_e4m3fn",
}
expected = {}


def describe(name, tensor):
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return {
        "name": name,
        "type": WORDS[tensor.dtype],
        "shape": list(tensor.shape),
        "crc32": zlib.crc32(data),
    }


def save(file, state, source=None, **options):
    """Saves `state`; lists its tensors, with the values of `source` if given, for the tests."""
    torch.save(state, HERE / file, **options)
    source = source or state
    expected[file] = [
        describe(name, source[name]) for name, value in state.items() if torch.is_tensor(value)
    ]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(3, 4)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(4)  # its num_batches_tracked is an int64 scalar


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


torch.manual_seed(0)
block = torch.randn(4, 6)

save(
    "types.bin",
    {
        "double": torch.randn(2, 2, dtype=torch.float64),
        "float": block,
        "half": block.half(),
        "brain": block.bfloat16(),
        "parameter": nn.Parameter(torch.randn(5)),
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 4),
        "long": torch.arange(-2, 3),
        "int": torch.arange(3, dtype=torch.int32),
        "short": torch.arange(3, dtype=torch.int16),
        "char": torch.arange(3, dtype=torch.int8),
        "byte": torch.arange(3, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "uint16": torch.arange(3).to(torch.uint16),
        "float8": torch.randn(4).to(torch.float8_e4m3fn),
        "a number": 1,
        "a large number": 1 << 40,
        "a negative number": -70000,
        "a fraction": 0.25,
        "a string": "text",
        "a truth": True,
        "nothing": None,
    },
)
save("module.bin", Tied().state_dict())
save("protocol4.bin", Tied().state_dict(), pickle_protocol=4)
save("views.bin", {"row": block[1], "rows": block[1:3], "column": block[:, :1][:1], "all": block})
save("odd-name.bin", OrderedDict([("weights.µ.0", torch.ones(1))]))
save("no-tensors.bin", {})

folder = sys.argv[1]
stored = load_file(os.path.join(folder, "model.safetensors"))
stored.setdefault("lm_head.weight", stored["model.decoder.embed_tokens.weight"])
state = OPTForCausalLM.from_pretrained(folder).state_dict()
save("tiny-opt.bin", state, source=stored)

torch.save({"weight": block}, HERE / "legacy.bin", _use_new_zipfile_serialization=False)
torch.save({"weight": block.t()}, HERE / "transposed.bin")
torch.save({"state_dict": {"weight": block}, "epoch": 3}, HERE / "nested.bin")
torch.save(block, HERE / "bare-tensor.bin")
torch.save([block], HERE / "list.bin")
torch.save(nn.Linear(2, 2), HERE / "whole-module.bin")
torch.save({"weight": block.to_sparse()}, HERE / "sparse.bin")
torch.save({"weight": block._neg_view()}, HERE / "negated.bin")
torch.save({"weight": block.to(torch.complex64)}, HERE / "complex.bin")
torch.save({"weight": Call(os.system, f"touch {MARKER}")}, HERE / "system.bin")
torch.save({"weight": Call(eval, f"open('{MARKER}', 'w')")}, HERE / "eval.bin")
torch.save({"weight": Call(eval, "1")}, HERE / "eval4.bin", pickle_protocol=4)

(HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
