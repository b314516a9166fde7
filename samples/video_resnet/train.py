"""Train the sample network for a few dozen steps on clips made here, and save its checkpoints.

    python train.py --framework torch        # video_resnet.pth and video_resnet.safetensors
    python train.py --framework mindspore    # video_resnet.ckpt

Seeded, on the CPU, about a minute each. The two trainings are independent of one another.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from clips import make_clips

HERE = Path(__file__).parent
STEPS, BATCH, LEARNING_RATE, SEED = 100, 12, 0.02, 20


def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One batch of new clips per step."""
    for step in range(STEPS):
        yield make_clips(BATCH, seed=SEED + step)


def train_torch(folder: Path) -> float:
    """Save a training framework's kind of .pth (the state dict inside a dictionary) and a .safetensors."""
    import torch
    import torch_net
    from safetensors.torch import save_file

    torch.manual_seed(SEED)
    net = torch_net.build()
    optimizer = torch.optim.SGD(net.parameters(), LEARNING_RATE, momentum=0.9)
    for clips, directions in batches():
        logits = net(torch.from_numpy(clips))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(directions).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    clips, directions = make_clips(64, seed=SEED - 1)
    with torch.no_grad():
        accuracy = float((net.eval()(torch.from_numpy(clips)).numpy().argmax(1) == directions).mean())
    torch.save({"step": STEPS, "accuracy": accuracy, "state_dict": net.state_dict()}, folder / "video_resnet.pth")
    save_file(net.state_dict(), folder / "video_resnet.safetensors")
    return accuracy


def train_mindspore(folder: Path) -> float:
    """Save a .ckpt by MindSpore's own `save_checkpoint`."""
    import mindspore as ms
    import mindspore_net

    ms.set_seed(SEED)
    net = mindspore_net.build()
    optimizer = ms.nn.SGD(net.trainable_params(), LEARNING_RATE, momentum=0.9)
    loss_of = ms.nn.CrossEntropyLoss()
    step = ms.value_and_grad(lambda x, y: loss_of(net(x), y), None, optimizer.parameters)
    net.set_train(True)
    for clips, directions in batches():
        _, gradients = step(ms.Tensor(clips), ms.Tensor(directions))
        optimizer(gradients)
    clips, directions = make_clips(64, seed=SEED - 1)
    net.set_train(False)
    accuracy = float((net(ms.Tensor(clips)).asnumpy().argmax(1) == directions).mean())
    ms.save_checkpoint(net, str(folder / "video_resnet.ckpt"))
    return accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=["torch", "mindspore"], required=True)
    parser.add_argument(
        "--folder", type=Path, default=HERE, help="where the checkpoints go (default: beside this script)"
    )
    arguments = parser.parse_args()
    train = train_torch if arguments.framework == "torch" else train_mindspore
    print(f"{arguments.framework}: {train(arguments.folder):.0%} of 64 new clips classified correctly")


if __name__ == "__main__":
    main()
