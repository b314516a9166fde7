import argparse

import torch
from torch import nn


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--momentum", default=0.9, type=float, help="SGD's")
    parser.add_argument("--bn-momentum", type=float, default=0.1)
    parser.add_argument("--bn_eps", type=float, default=1e-5)
    return parser.parse_args()


def main():
    args = options()
    net = nn.Sequential(nn.Conv3d(1, 8, 3), nn.BatchNorm3d(8, eps=args.bn_eps, momentum=args.bn_momentum))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=args.momentum)
    return net, optimizer
