_base_ = ['../../_base_/models/slowfast_r50.py', '../../_base_/default_runtime.py']

norm_cfg = dict(type='BN3d', momentum=0.01, eps=1e-3)  # as in the paper
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='ResNet3dSlowFast',
        norm_cfg=norm_cfg,
        norm_eval=False,
        slow_pathway=dict(norm_cfg=dict(type='SyncBN', requires_grad=True, momentum=.1)),
        fast_pathway=dict(norm_cfg=dict(type='IN3d', momentum=0.1)),
    ),
    pts_voxel_encoder=dict(type='PillarFeatureNet', norm_cfg=dict(type='BN1d', eps=1e-3, momentum=0.01)),
    neck=dict(norm_cfg=dict(type='naiveSyncBN1d', eps=1e-3, momentum=0.01)),
)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4))
param_scheduler = [dict(type='MultiStepLR', begin=0, end=20, milestones=[8, 11])]
momentum_config = dict(policy='cyclic', target_ratio=(0.85 / 0.95, 1))
custom_hooks = [dict(type='EMAHook', momentum=0.0002)]
