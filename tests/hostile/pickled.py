"""Things that a pickle can say and a checkpoint must not: code that runs, tensors of any size."""

import builtins
import os
import subprocess
from collections import Counter, OrderedDict

import torch
from hostile.watch import CANARY


class Call:
    """Pickled as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Built(Call):
    """Pickled as the call of a function whose result is then given a state."""

    def __init__(self, function, arguments, state):
        self.call = function, arguments, state


def code():
    """Calls that would leave a canary in the current folder, or worse."""
    touch = f"touch {CANARY}"
    return {
        "os.system": Call(os.system, touch),
        "os.mkdir": Call(os.mkdir, CANARY),
        "subprocess": Call(subprocess.call, ["touch", CANARY]),
        "eval": Call(builtins.eval, f"__import__('os').mkdir('{CANARY}')"),
        "exec": Call(builtins.exec, f"open('{CANARY}', 'w')"),
        "open": Call(builtins.open, CANARY, "w"),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "torch.load": Call(torch.load, "/proc/self/environ"),
        "torch.hub": Call(torch.hub.load, "nobody/nothing", "x"),
        "the function itself": os.system,
        "a module": torch.nn.Linear(1, 1),
        "an exit": Call(os._exit, 0),
    }


def sizes():
    """Tensors and arrays that are larger than what they are stored in."""
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
    )

    def tensor(*shape, offset=0, stride=None):
        stride = stride or (1,) * len(shape)
        rebuild = torch._utils._rebuild_tensor_v2
        return Call(rebuild, storage, offset, shape, stride, False, OrderedDict())

    return {
        "terabytes": tensor(2**20, 2**20, stride=(2**20, 1)),
        "a repeated number": tensor(2**20, 2**20, stride=(0, 0)),
        "a repeated row": tensor(2**30, 4, stride=(0, 1)),
        "beyond 64 bits": tensor(2**40, 2**40, stride=(2**40, 1)),
        "a negative offset": tensor(2, offset=-2),
        "an offset behind the end": tensor(2, offset=3),
        "a negative shape": tensor(-4),
        "a negative stride": tensor(4, stride=(-1,)),
        "a shape that is a text": Call(torch._utils._rebuild_tensor_v2, storage, 0, "4", (1,),
        False, {}),
        "a sparse one": torch.sparse_coo_tensor([[0], [0]], [1.0], (2**30, 2**30)),
        "one without values": torch.empty(2**20, 2**20, device="meta"),
        "a quantized one": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.quint8),
        "a complex one": torch.ones(4, dtype=torch.complex64),
        "8-bit floats": torch.ones(4).to(torch.float8_e4m3fn),
        "an array of bytes": Call(bytearray, 2**33),
        "a tensor of a size": Call(torch.FloatTensor, 2**40),
        "a counter": Counter("aa"),
        "no tensor": 3,
        "a list": [torch.ones(4)],
    }  # fmt: skip
