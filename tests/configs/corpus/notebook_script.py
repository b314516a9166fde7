# %% [markdown]
# # Train a 3D U-Net
# %%
# !pip install torch
import torch, torch.nn as nn
import torch.nn.functional as F
bn_args = {"eps": 1e-3, "momentum": 0.01}
# %%
def conv(i, o, k=3):
    return nn.Sequential(nn.Conv3d(i, o, k, padding=k // 2), nn.BatchNorm3d(o, **bn_args), nn.ReLU())
# %%
net = nn.Sequential(conv(1, 8), conv(8, 16), nn.BatchNorm3d(16, momentum=None), nn.BatchNorm3d(16, 1e-5, 0.1))
for m in net.modules():
    if isinstance(m, nn.BatchNorm3d):
        m.momentum = 0.05
opt = torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9)
y = F.batch_norm(torch.rand(2, 16, 4, 4, 4), torch.zeros(16), torch.ones(16), momentum=0.1)
