"""Drives the CUDA kernels' own text from Python: on a card, or as compiled for the host.

Argument structures are read from the header that the kernels include, so that a check never
disagrees with them about a field's place.
"""

import ctypes
import glob
import os
import re

import torch

SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "Sources", "CDejaVuCUDA")
SUFFIXES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}


def read(*path):
    with open(os.path.join(SOURCES, *path), encoding="utf-8") as file:
        return file.read()


def headers():
    """What kernels are given, as NVRTC reads it."""
    return "\n".join(read("include", f"dejavu_cuda_{part}.h") for part in ("arguments", "prompts", "training"))


def arranged(width):
    """Elements of a vector as kernels keep it."""
    return (width + 255) // 256 * 256


def plane_bytes(width):
    """Bytes of a vector that meets codes: two of every element, and a step for 128."""
    return 2 * arranged(width) + (arranged(width) // 128 + 3) // 4 * 16


def eighth_bytes(columns):
    """Bytes of a vector in 8 bits as choosers meet it: whole blocks of 128 columns, and a step for 64."""
    return columns + (columns // 16 + 15) // 16 * 16


def structures():
    """The header's structures, by name, as ctypes classes."""
    types = {"dv_address": ctypes.c_ulonglong, "int": ctypes.c_int, "float": ctypes.c_float,
             "double": ctypes.c_double}
    text = re.sub(r"//.*", "", headers())
    sizes = {name: int(value) for name, value in re.findall(r"enum \{ (\w+) = (\d+) \}", text)}
    for body, name in re.findall(r"typedef struct \{(.*?)\} (\w+);", text, re.S):
        fields = []
        for line in filter(str.strip, body.split(";")):
            kind, names = line.strip().split(None, 1)
            for each in names.split(","):
                field, count = re.fullmatch(r"(\w+)(?:\[(\w+)\])?", each.strip()).groups()
                fields.append((field, types[kind] * sizes[count] if count else types[kind]))
        types[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return types | sizes


TYPES = structures()


def make(name, **values):
    """A `dv_<name>`; tensors stand for their addresses and live as long as it does."""
    made = TYPES["dv_" + name]()
    for field, value in values.items():
        if isinstance(value, list):
            for place, each in enumerate(value):
                getattr(made, field)[place] = each
            continue
        address = value.data_ptr() if isinstance(value, torch.Tensor) else value
        setattr(made, field, address)
    made._values = values
    return made




class LaunchAttribute(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int), ("padding", ctypes.c_int), ("value", ctypes.c_int),
                ("rest", ctypes.c_char * 60)]


class LaunchConfig(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint) for name in (
        "grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared_bytes")] + [
        ("stream", ctypes.c_void_p), ("attributes", ctypes.POINTER(LaunchAttribute)),
        ("count", ctypes.c_uint)]


def launch_config(grid, threads, shared, stream, overlaps):
    """A launch as the driver takes it; one that overlaps may start before the last has ended."""
    config = LaunchConfig(*grid, threads, 1, 1, shared, stream)
    if overlaps:
        config.kept = LaunchAttribute(id=6, value=1)
        config.attributes, config.count = ctypes.pointer(config.kept), 1
    return config


class Card:
    """An NVIDIA card, with the kernels compiled by NVRTC for a cache of halves."""

    device = "cuda"
    # Whether launches may overlap: only between kernels that wait for their inputs themselves.
    overlap = False

    def __init__(self, chunks, codes):
        self.chunks = chunks
        major, minor = torch.cuda.get_device_capability()
        self.overlaps = major >= 9
        self.multiprocessors = torch.cuda.get_device_properties(0).multi_processor_count
        self.name = torch.cuda.get_device_name()
        torch.zeros(1, device="cuda")
        self.driver = ctypes.CDLL("libcuda.so.1")
        self.module = ctypes.c_void_p()
        image = compile_kernels(f"sm_{major}{minor}", chunks, codes)
        self.check(self.driver.cuModuleLoadData(ctypes.byref(self.module), image))
        self.functions = {}

    def check(self, status):
        if status != 0:
            raise SystemExit(f"cuda_card: the driver answered {status}")

    def function(self, name, shared):
        if name not in self.functions:
            made = ctypes.c_void_p()
            self.check(self.driver.cuModuleGetFunction(ctypes.byref(made), self.module, name.encode()))
            self.functions[name] = made
        if shared > 40 << 10:
            self.check(self.driver.cuFuncSetAttribute(self.functions[name], 8, shared))
        return self.functions[name]

    def launch(self, name, grid, threads, arguments, shared=0):
        """Launches a kernel on PyTorch's stream; `grid` has one to three sizes."""
        x, y, z = (*grid, 1, 1)[:3]
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        stream = torch.cuda.current_stream().cuda_stream
        config = launch_config((x, y, z), threads, shared, stream, self.overlap and self.overlaps)
        self.check(self.driver.cuLaunchKernelEx(
            ctypes.byref(config), self.function(name, shared), pointers, None))

    def wait(self):
        torch.cuda.synchronize()


class Host:
    """The kernels as the tests compile them for the host; memory is the host's own."""

    device = "cpu"
    multiprocessors = 2
    name = "the host"

    def __init__(self, library, header, codes):
        loaded = ctypes.CDLL(library)
        with open(header, encoding="utf-8") as file:
            names = re.findall(r"\(\*_Nullable (\w+)\)", file.read())
        self.table = (ctypes.c_void_p * len(names))()
        loaded.dejavu_emulated_driver(self.table)
        self.calls = dict(zip(names, self.table))
        loaded.dejavu_emulated_module.restype = ctypes.c_void_p
        self.chunks = 1 if codes else 3
        self.module = ctypes.c_void_p(loaded.dejavu_emulated_module(
            2, self.chunks, *(codes or (0, 0))))
        self.stream = ctypes.c_void_p()
        self.call("make_stream", ctypes.byref(self.stream), ctypes.c_uint(0))

    def call(self, name, *arguments):
        status = ctypes.CFUNCTYPE(ctypes.c_int)(self.calls[name])(*arguments)
        if status != 0:
            raise SystemExit(f"cuda_card: {name} answered {status}")

    def launch(self, name, grid, threads, arguments, shared=0):
        config = launch_config((*grid, 1, 1)[:3], threads, shared, self.stream, False)
        function = ctypes.c_void_p()
        self.call("find_function", ctypes.byref(function), self.module, name.encode())
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        self.call("launch", ctypes.byref(config), function, pointers, None)

    def wait(self):
        pass


def compile_kernels(architecture, chunks, codes):
    """Machine code of all kernels, those of codes for one size of groups, by NVRTC: PyTorch's, or
    that of CUDA."""
    import nvidia

    found = [f for folder in nvidia.__path__
             for f in glob.glob(folder + "/**/libnvrtc.so*", recursive=True)]
    nvrtc = ctypes.CDLL((found + ["libnvrtc.so"])[0])
    files = ["common.cuh", "score.cu", "groupwise.cuh", "stream.cu", "debts.cuh",
             "project_tiles.cu", "groupwise_tiles.cuh", "project.cu", "attention.cu", "gather.cu",
             "groupwise_factors.cuh", "groupwise_sums.cu", "groupwise_rows.cu", "choose.cu", "renew.cu",
             "sample.cu", "operands.cu", "prompt_tiles.cu", "prompt.cu", "train.cu"]
    text = headers() + "\n".join(read("kernels", f) for f in files)
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"dejavu.cu", 0, None, None)
    options = [f"--gpu-architecture={architecture}", "--std=c++17", f"-DHEAD_CHUNKS={chunks}",
               "-DCACHE=f16"]
    if codes:
        options += [f"-DCODE_GROUP={codes[0]}", f"-DCODE_ZEROS={codes[1]}"]
    listed = (ctypes.c_char_p * len(options))(*[each.encode() for each in options])
    if nvrtc.nvrtcCompileProgram(program, len(options), listed) != 0:
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        raise SystemExit(log.value.decode())
    nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    image = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, image)
    return image
