"""Classify 64 new clips with each checkpoint given, and check that all of them answer alike.

    python classify.py video_resnet.pth converted/video_resnet.ckpt

A .ckpt is run in MindSpore, anything else in PyTorch. Exits with 1 where a checkpoint does not fit its network
exactly, or where its logits differ from those of the first checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from clips import make_clips

# Twenty layers of float32 arithmetic in another order of summation; wrong parameters are off by 0.1 and more.
TOLERANCE = 1e-3


def torch_logits(checkpoint: Path, clips: np.ndarray) -> np.ndarray:
    import torch
    import torch_net
    from safetensors.torch import load_file

    if checkpoint.suffix == ".safetensors":
        state = load_file(checkpoint)
    else:
        content = torch.load(checkpoint, weights_only=True)
        state = content.get("state_dict", content)
    net = torch_net.build()
    net.load_state_dict(state, strict=True)
    with torch.no_grad():
        return net.eval()(torch.from_numpy(clips)).numpy()


def mindspore_logits(checkpoint: Path, clips: np.ndarray) -> np.ndarray:
    import mindspore as ms
    import mindspore_net

    net = mindspore_net.build()
    parameters = ms.load_checkpoint(str(checkpoint))
    # load_param_into_net(strict_load=True) accepts missing and left-over names: compare them here.
    expected = {name: (value.shape, value.dtype) for name, value in net.parameters_dict().items()}
    found = {name: (value.shape, value.dtype) for name, value in parameters.items()}
    if expected != found:
        wrong = sorted(name for name, _ in expected.items() ^ found.items())
        sys.exit(f"{checkpoint} does not fit the network at: {', '.join(dict.fromkeys(wrong))}")
    ms.load_param_into_net(net, parameters)
    return net(ms.Tensor(clips)).asnumpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT")
    clips, directions = make_clips(64, seed=0)
    first = None
    for checkpoint in parser.parse_args().checkpoints:
        logits = (mindspore_logits if checkpoint.suffix == ".ckpt" else torch_logits)(checkpoint, clips)
        first = logits if first is None else first
        difference = np.abs(logits - first).max()
        accuracy = (logits.argmax(1) == directions).mean()
        print(f"{checkpoint}: {accuracy:.0%} correct, logits within {difference:.1e} of the first")
        if not difference <= TOLERANCE:
            sys.exit(f"{checkpoint} answers differently from the first checkpoint")


if __name__ == "__main__":
    main()
