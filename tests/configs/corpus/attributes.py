from yacs.config import CfgNode as CN

_C = CN()
_C.MODEL = CN()
_C.MODEL.ARCH = "slowfast"
# Batch normalisation
_C.BN = CN()
_C.BN.EPSILON = 1e-5
_C.BN.MOMENTUM = 0.1
_C.BN.NORM_TYPE = "batchnorm"
_C.SOLVER = CN()
_C.SOLVER.MOMENTUM = 0.9


def get_cfg():
    return _C.clone()
