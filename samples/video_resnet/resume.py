"""Begin a training of the sample network, or go on with one, in the framework that its checkpoint belongs to.

    python resume.py run.pth             # PyTorch: begins at step 1, saves network and optimizer
    bnport convert run.pth -o run.ckpt --optimizer
    python resume.py run.ckpt            # MindSpore: goes on at step 4, with the moments that PyTorch had

The losses it prints are those that the other framework would have had.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from clips import make_clips

BATCH, LEARNING_RATE, SEED = 8, 0.002, 70


def batches(done: int, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches of the steps after the first `done`."""
    for step in range(done, done + steps):
        yield make_clips(BATCH, seed=SEED + step)


def resume_torch(path: Path, steps: int) -> tuple[int, list[float]]:
    """Train `steps` more; the steps done before, and the losses."""
    import torch
    import torch_net

    torch.manual_seed(SEED)
    net = torch_net.build()
    optimizer = torch.optim.Adam(net.parameters(), LEARNING_RATE)
    if path.exists():
        saved = torch.load(path, weights_only=True)
        net.load_state_dict(saved["state_dict"])
        optimizer.load_state_dict(saved["optimizer"])
    done = max((int(slots["step"]) for slots in optimizer.state.values()), default=0)
    losses = []
    for clips, directions in batches(done, steps):
        loss = torch.nn.functional.cross_entropy(net(torch.from_numpy(clips)), torch.from_numpy(directions).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    torch.save({"state_dict": net.state_dict(), "optimizer": optimizer.state_dict()}, path)
    return done, losses


def resume_mindspore(path: Path, steps: int) -> tuple[int, list[float]]:
    """As `resume_torch`."""
    os.environ.setdefault("GLOG_v", "3")  # errors only; read at import
    import mindspore as ms
    import mindspore_net

    ms.set_seed(SEED)
    net = mindspore_net.build().set_train(True)
    optimizer = ms.nn.Adam(net.trainable_params(), LEARNING_RATE)
    everything = {p.name: p for p in [*net.get_parameters(), *optimizer.get_parameters()]}
    if path.exists():
        # Not load_param_into_net, which keeps going where a name is missing.
        saved = ms.load_checkpoint(str(path))
        for name, parameter in everything.items():
            parameter.set_data(saved[name])
    done = int(optimizer.global_step.asnumpy()[0])
    loss_of = ms.nn.CrossEntropyLoss()
    step = ms.value_and_grad(lambda x, y: loss_of(net(x), y), None, optimizer.parameters)
    losses = []
    for clips, directions in batches(done, steps):
        loss, gradients = step(ms.Tensor(clips), ms.Tensor(directions))
        optimizer(gradients)
        losses.append(float(loss.asnumpy()))
    ms.save_checkpoint([{"name": name, "data": p} for name, p in everything.items()], str(path))
    return done, losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "checkpoint", type=Path, help="a .pth (PyTorch) or .ckpt (MindSpore); made if it is not there"
    )
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    is_torch = arguments.checkpoint.suffix == ".pth"
    done, losses = (resume_torch if is_torch else resume_mindspore)(arguments.checkpoint, arguments.steps)
    shown = ", ".join(f"{loss:.3e}" for loss in losses)
    print(f"{'PyTorch' if is_torch else 'MindSpore'}, steps {done + 1} to {done + arguments.steps}: losses {shown}")


if __name__ == "__main__":
    main()
