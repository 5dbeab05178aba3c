"""What PyTorch draws from a seed, initialises, steps to and stores."""

import itertools
import json
import platform
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

VERSIONS = f"PyTorch {torch.__version__}, NumPy {np.__version__}, {platform.machine()}"
SEEDS = (0, 1, -1, -(2**63), 2**63, 2**64 - 1)
SIZES = (0, 1, 2, 3, 15, 16, 17, 37, 624, 700)
DTYPES = {"float32": torch.float32, "float64": torch.float64}

# fgrad.random.Generator's methods, as PyTorch spells them.
DRAWS: dict[str, Callable[..., torch.Tensor]] = {
    "rand": lambda g, shape, dtype: torch.rand(shape, dtype=DTYPES[dtype], generator=g),
    "uniform": lambda g, shape, low, high, dtype: torch.empty(shape, dtype=DTYPES[dtype]).uniform_(
        low, high, generator=g
    ),
    "randn": lambda g, shape, dtype: torch.randn(shape, dtype=DTYPES[dtype], generator=g),
    "normal": lambda g, shape, mean, std, dtype: torch.empty(shape, dtype=DTYPES[dtype]).normal_(
        mean, std, generator=g
    ),
    "randint": lambda g, low, high, shape: torch.randint(low, high, shape, generator=g),
    "randperm": lambda g, n: torch.randperm(n, generator=g),
    "bernoulli": lambda g, p, shape: torch.empty(shape).bernoulli_(p, generator=g),
}

# fgrad.init's functions: arguments, and the same call on PyTorch's global generator.
LAYERS: dict[str, Callable[..., torch.nn.Module]] = {
    "linear": lambda in_features, out_features, bias, dtype: torch.nn.Linear(
        in_features, out_features, bias, dtype=DTYPES[dtype]
    ),
    "conv2d": lambda in_channels, out_channels, kernel_size, groups, bias, dtype: torch.nn.Conv2d(
        in_channels, out_channels, kernel_size, groups=groups, bias=bias, dtype=DTYPES[dtype]
    ),
}


def record(folder: Path) -> None:
    """Write one file a module: random.npz, init.npz, optim.npz and interop.npz."""
    for name, arrays in (
        ("random", record_random()),
        ("init", record_init()),
        ("optim", record_optim()),
        ("interop", record_interop()),
    ):
        path = folder / f"{name}.npz"
        np.savez_compressed(path, allow_pickle=False, versions=np.array(VERSIONS), **arrays)


def record_random() -> dict[str, np.ndarray[Any, Any]]:
    """Return for each seed a program of calls, their results and the state they end in."""
    generator = torch.Generator().manual_seed(3)
    arrays = {"fresh": generator.get_state().numpy()}
    torch.rand(624, generator=generator)
    arrays["used_up"] = generator.get_state().numpy()
    for i, seed in enumerate(SEEDS):
        generator = torch.Generator().manual_seed(seed)
        program = _program(random.Random(i))
        arrays[f"{i}.program"] = np.array(json.dumps([seed, program]))
        for j, (method, arguments) in enumerate(program):
            arrays[f"{i}.{j}"] = DRAWS[method](generator, **arguments).numpy()
        arrays[f"{i}.state"] = generator.get_state().numpy()
    return arrays


def _program(choose: random.Random) -> list[tuple[str, dict[str, Any]]]:
    program = []
    for method in list(DRAWS) * 4:
        size, dtype = choose.choice(SIZES), choose.choice(list(DTYPES))
        arguments: dict[str, Any] = {"shape": [size]}
        if method in ("rand", "uniform", "randn", "normal"):
            arguments["dtype"] = dtype
        if method == "uniform":
            arguments["low"] = choose.uniform(-2, 1)
            arguments["high"] = arguments["low"] + choose.choice((1.0, 1e-9, 0.37, 12.5))
        elif method == "normal":
            arguments |= {"mean": choose.choice((0.0, 3.0)), "std": choose.uniform(0, 2)}
        elif method == "randint":
            arguments["low"] = choose.randrange(-50, 50)
            arguments["high"] = arguments["low"] + choose.choice((1, 10, 2**28 - 1, 2**28, 2**62))
        elif method == "bernoulli":
            arguments["p"] = choose.choice((0.0, 0.3, 1.0))
        elif method == "randperm":
            arguments = {"n": size}
        program.append((method, arguments))
    choose.shuffle(program)
    return program


def record_init() -> dict[str, np.ndarray[Any, Any]]:
    """Return the parameters of new layers, and of each of nn.init's families, from one seed."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    calls: list[tuple[str, dict[str, Any]]] = []
    for dtype, bias in itertools.product(DTYPES, (True, False)):
        common = {"bias": bias, "dtype": dtype}
        calls += [
            ("linear", {"in_features": 7, "out_features": 3, **common}),
            (
                "conv2d",
                {"in_channels": 4, "out_channels": 6, "kernel_size": [3, 2], "groups": 2, **common},
            ),
            (
                "conv2d",
                {"in_channels": 1, "out_channels": 6, "kernel_size": 5, "groups": 1, **common},
            ),
        ]
    for dtype, shape in itertools.product(DTYPES, ([5, 3], [4, 3, 2, 2])):
        common = {"shape": shape, "dtype": dtype}
        calls += [
            ("uniform", {"a": -0.3, "b": 0.7, **common}),
            ("normal", {"mean": 1.0, "std": 0.5, **common}),
            ("xavier_uniform", {"gain": 5 / 3, **common}),
            ("xavier_normal", {"gain": 1.0, **common}),
        ]
        for family in ("kaiming_uniform", "kaiming_normal"):
            calls += [
                (family, {"a": 0.2, "mode": "fan_out", "nonlinearity": "leaky_relu", **common}),
                (family, {"mode": "fan_in", "nonlinearity": "relu", **common}),
            ]
    torch.manual_seed(0)
    for i, (function, arguments) in enumerate(calls):
        if function in LAYERS:
            for name, parameter in LAYERS[function](**arguments).named_parameters():
                arrays[f"{i}.{name}"] = parameter.detach().numpy()
            continue
        rest = {key: value for key, value in arguments.items() if key not in ("shape", "dtype")}
        tensor = torch.empty(arguments["shape"], dtype=DTYPES[arguments["dtype"]])
        arrays[f"{i}"] = getattr(torch.nn.init, f"{function}_")(tensor, **rest).numpy()
    arrays["calls"] = np.array(json.dumps(calls))
    return arrays


def record_optim() -> dict[str, np.ndarray[Any, Any]]:
    """Return the parameters after each of 12 steps, for every combination of SGD's arguments."""
    choose = np.random.RandomState(0)
    start, grads = choose.randn(3), choose.randn(12, 3)
    arrays: dict[str, np.ndarray[Any, Any]] = {"start": start, "grads": grads}
    runs: list[dict[str, Any]] = []
    for momentum, dampening, weight_decay, nesterov, maximize in itertools.product(
        (0.0, 0.9), (0.0, 0.3), (0.0, 0.01), (False, True), (False, True)
    ):
        if nesterov and (momentum == 0 or dampening != 0):
            continue
        arguments: dict[str, Any] = {
            "lr": 0.1,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        for dtype in DTYPES:
            parameter = torch.tensor(start, dtype=DTYPES[dtype])
            optimizer = torch.optim.SGD([parameter], **arguments)
            trace = []
            for grad in grads:
                parameter.grad = torch.tensor(grad, dtype=DTYPES[dtype])
                optimizer.step()
                trace.append(parameter.numpy().copy())
            arrays[f"{len(runs)}.{dtype}"] = np.stack(trace)
        runs.append(arguments)
    arrays["runs"] = np.array(json.dumps(runs))
    return arrays


def record_interop() -> dict[str, np.ndarray[Any, Any]]:
    """Return a small network's state_dict, an input and the output."""
    torch.manual_seed(0)
    conv1 = torch.nn.Conv2d(2, 4, (3, 2), padding=1, groups=2)
    conv2 = torch.nn.Conv2d(4, 3, 3, stride=2, bias=False)
    fc = torch.nn.Linear(3 * 2 * 3, 5)
    x = torch.randn(2, 2, 6, 7)
    with torch.no_grad():
        y = fc(torch.flatten(conv2(torch.relu(conv1(x))), 1))
    layers = {"conv1": conv1, "conv2": conv2, "fc": fc}
    state_dict = {
        f"state_dict.{layer}.{name}": value.numpy()
        for layer, module in layers.items()
        for name, value in module.state_dict().items()
    }
    return {**state_dict, "x": x.numpy(), "y": y.numpy()}
