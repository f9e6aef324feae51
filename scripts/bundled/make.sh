#!/usr/bin/env bash
# Makes the bundled model's weights from nothing: each stage of its training, then the mean of what the stages learned.
# About eight and a half hours on two CPU cores up to bundled_vit_longer; the two runs of bundled_long took three minutes
# each on one H100 with 16 cores, and would take an estimated six hours each on two CPU cores.
# A run is named after its last config, and each goes on where it stopped: start this again after a break.
# `python -m scripts.bundled.measure` and `python -m scripts.bundled.make` then put runs/bundled_soup into the package.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

stage() { wordgaze train --config configs/bundled/base.yaml "$@"; }

stage --config configs/bundled/bundled.yaml
stage --config configs/bundled/bundled_paired.yaml
stage --config configs/bundled/bundled_scst.yaml
stage --config configs/bundled/bundled_scst.yaml --config configs/bundled/bundled_scst_dropout.yaml
stage --config configs/bundled/bundled_upper.yaml
stage --config configs/bundled/bundled_scst.yaml --config configs/bundled/bundled_upper_scst.yaml
stage --config configs/bundled/bundled_vit.yaml
stage --config configs/bundled/bundled_vit.yaml --config configs/bundled/bundled_vit_longer.yaml
stage --config configs/bundled/bundled_long.yaml
stage --config configs/bundled/bundled_long.yaml --train.seed 2 --out runs/bundled_long2

# The mean of both seeds, and 0.8 times what the three self-critical stages changed in weaker models.
wordgaze average runs/bundled_long runs/bundled_long2 --out runs/bundled_soup \
    --learnt runs/bundled_scst runs/bundled_paired \
    --learnt runs/bundled_scst_dropout runs/bundled_paired \
    --learnt runs/bundled_upper_scst runs/bundled_upper \
    --scale 0.8 --length-penalty 1.5 --stretch 1.15 --round 4
