"""Time the notes' regression in fgrad and in PyTorch, in one run and in turns.

Prints Markdown tables; --output FILE writes them, with a JSON file of all figures beside it.
Needs PyTorch (pip install -e ".[parity]"). Takes about a minute and a half.
"""

import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from measure import duration, in_turns, machine, ratio, table
from pytorch_linear import X, Y, train, train_many

import fgrad
from fgrad import cli, files, strict
from fgrad.models import linear
from fgrad.types import Array, Batch, Params

ROOT = Path(__file__).parent.parent
DATA = jnp.array(X)[:, None], jnp.array(Y)[:, None]
STEADY = 100  # fgrad's runs in a row that are timed as one: PyTorch's one takes as long
START = {"weight": np.ones((1, 1), np.float32)}


def loss_fn(params: Params, batch: Batch) -> Array:
    """Return the squared error of one sample."""
    x, y = batch
    error = linear.apply(params, x) - y
    return (error * error)[0]


def process(*command: str) -> Callable[[], object]:
    """Return a function that runs a Python process to its end."""
    return lambda: subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)


def comparison(name: str, torch_times: list[float], times: list[float], runs: int = 1) -> list[str]:
    """Return a row: PyTorch's time, fgrad's, and the ratio pair by pair."""
    median, low, high = ratio(torch_times, [seconds / runs for seconds in times])
    return [
        name,
        duration(float(np.median(torch_times))),
        duration(float(np.median(times)) / runs),
        f"{median:,.3g}" if median < 1000 else f"{median:,.0f}",
        f"{low:,.3g} to {high:,.3g}" if median < 1000 else f"{low:,.0f} to {high:,.0f}",
    ]


def imports() -> list[list[str]]:
    """Compare importing fgrad with importing JAX, as whole processes."""
    jax_times, fgrad_times, both_times = in_turns(
        process("-c", "import jax"),
        process("-c", "import fgrad"),
        process("-c", "import jax, optax, fgrad.training"),
        repetitions=9,
    )
    rows = []
    for name, times in (
        ("import jax", jax_times),
        ("import fgrad", fgrad_times),
        ("import jax, optax, fgrad.training", both_times),
    ):
        median, low, high = ratio(times, jax_times)
        rows.append(
            [name, duration(float(np.median(times))), f"{median:.2f}", f"{low:.2f} to {high:.2f}"]
        )
    return rows


def speed() -> list[list[str]]:
    """Compare whole processes, a compiled run again and again, and a sweep."""
    torch_process, fgrad_process = in_turns(
        process(str(ROOT / "benchmarks" / "pytorch_linear.py")),
        process(str(ROOT / "scripts" / "train_linear.py")),
        repetitions=9,
    )
    optimizer = optax.sgd(0.01)
    step = fgrad.make_step(loss_fn, optimizer)
    state = fgrad.init_state(START, optimizer)

    def run(state: fgrad.TrainState) -> tuple[fgrad.TrainState, object]:
        return fgrad.fit(step, state, DATA, epochs=100)

    plain = jax.jit(run)
    exact = jax.jit(run, compiler_options=strict.COMPILER_OPTIONS)
    expected = train(100).item()
    assert exact(state)[0].params["weight"].item() == expected, "the programs must agree"
    np.testing.assert_allclose(plain(state)[0].params["weight"].item(), expected, rtol=1e-6)
    torch_run, called, jitted, jitted_exact = in_turns(
        lambda: train(100),
        lambda: [fgrad.fit(step, state, DATA, epochs=100) for _ in range(STEADY)],
        lambda: [jax.block_until_ready(plain(state)) for _ in range(STEADY)],
        lambda: [jax.block_until_ready(exact(state)) for _ in range(STEADY)],
        repetitions=30,
    )

    def final_weight(rate: Array) -> Array:
        sweep_step = fgrad.make_step(loss_fn, optax.sgd(rate), metrics=())
        return fgrad.fit(sweep_step, state, DATA, epochs=100)[0].params["weight"]

    rates = np.linspace(1e-4, 0.02, 10_000, dtype=np.float32)
    sweep = jax.jit(jax.vmap(final_weight))
    swept = np.ravel(sweep(rates))
    np.testing.assert_allclose(swept, train_many(torch.tensor(rates), 100), rtol=1e-5)
    torch_part, fgrad_sweep, torch_tensor = in_turns(
        lambda: [train(100, float(rate)) for rate in rates[::2500]],
        lambda: jax.block_until_ready(sweep(rates)),
        lambda: train_many(torch.tensor(rates), 100),
        repetitions=15,
    )
    per_run = [seconds / 4 for seconds in torch_part]
    tensor_per_run = [seconds / len(rates) for seconds in torch_tensor]
    return [
        comparison("(a) whole process, cold", torch_process, fgrad_process),
        comparison("(b) 100 epochs, fgrad.fit", torch_run, called, STEADY),
        comparison("(b) the same under the caller's jax.jit", torch_run, jitted, STEADY),
        comparison("(b) the same with strict rounding", torch_run, jitted_exact, STEADY),
        comparison(
            "(d) a run of 10,000 in a sweep, PyTorch one by one", per_run, fgrad_sweep, 10_000
        ),
        comparison(
            "(d) the same, PyTorch with all runs in one tensor", tensor_per_run, fgrad_sweep, 10_000
        ),
    ]


def wait_for(compiled: Callable[..., object], *args: object) -> None:
    """Run a compiled program to its end."""
    jax.block_until_ready(compiled(*args))


def growth() -> list[list[str]]:
    """Measure what more epochs cost: PyTorch's times are extrapolated from 300 epochs."""
    start = time.perf_counter()
    train(300)
    per_epoch = (time.perf_counter() - start) / 300
    optimizer = optax.sgd(0.01)
    state = fgrad.init_state(START, optimizer)
    rows = []
    for epochs in (100, 1_000, 10_000, 100_000, 1_000_000):
        row = [f"{epochs:,}", duration(per_epoch * epochs)]
        for metrics in ((), ("loss",)):
            step = fgrad.make_step(loss_fn, optimizer, metrics=metrics)
            program = functools.partial(fgrad.fit, step, batches=DATA, epochs=epochs)
            lowered = jax.jit(program).lower(state)
            start = time.perf_counter()
            compiled = lowered.compile()
            compile_time = time.perf_counter() - start
            (times,) = in_turns(functools.partial(wait_for, compiled, state), repetitions=5)
            memory = compiled.memory_analysis()
            assert memory is not None
            held = memory.output_size_in_bytes + memory.temp_size_in_bytes
            row += [duration(compile_time), duration(float(np.median(times))), f"{held:,} B"]
        rows.append(row)
    return rows


def main() -> int:
    """Measure, print and write."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=cli.output_file(".md"), metavar="FILE")
    args = parser.parse()
    torch.set_num_threads(1)  # one scalar at a time: more threads only cost
    sections = {
        "Import, whole processes": (["", "time", "ratio to jax", "quartiles"], imports()),
        "Training y = w x, 100 epochs of three samples": (
            ["", "PyTorch", "fgrad", "PyTorch / fgrad", "quartiles"],
            speed(),
        ),
        "(c) Cost against epochs": (
            [
                "epochs",
                "PyTorch (extrapolated)",
                "compile",
                "run",
                "memory",
                "compile, with losses",
                "run, with losses",
                "memory, with losses",
            ],
            growth(),
        ),
    }
    text = f"Measured by `python benchmarks/regression.py` on {machine()}.\n"
    for title, (header, rows) in sections.items():
        text += f"\n### {title}\n\n{table(header, rows)}\n"
    print(text)
    if args.output:
        figures = {title: [header, *rows] for title, (header, rows) in sections.items()}
        record = {"machine": machine(), "tables": figures}
        files.write_whole(args.output, text.encode())
        json_file = args.output.with_suffix(".json")
        files.write_whole(json_file, json.dumps(record, indent=1).encode())
    return 0


if __name__ == "__main__":
    cli.run(main)
