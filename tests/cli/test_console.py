"""What the terminal shows is what files, factories and tensors are called."""

from __future__ import annotations

from typing import Any

import torch
from nets import two_norms


def test_a_name_between_colons_is_no_emoji(bnport: Any) -> None:
    torch.save({f":x:.{name}": tensor for name, tensor in two_norms().state_dict().items()}, ":x:.pth")
    listed = bnport("inspect", ":x:.pth")
    assert listed.out.count(":x:") > 2
    refused = bnport("inspect", ":x:.ckpt")
    assert refused.err.startswith("error: :x:.ckpt: ")
    assert not {"\u274c"} & set(listed.out + listed.err + refused.err)
