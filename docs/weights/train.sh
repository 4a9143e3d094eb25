#!/bin/sh
# How the shipped weights were trained, in four runs: sh docs/weights/train.sh PHOTOS OTHERS SHAPES RUNS [START]
#
# PHOTOS to train on, OTHERS to measure on, object SHAPES for holes (white), a folder for the RUNS.
# From scratch, or from START: weights, a run's folder, or "shipped". Interrupted, it continues
# where it was. RUNS/both_512/best.weights.h5 is the result.
set -eu
export TF_ENABLE_ONEDNN_OPTS="${TF_ENABLE_ONEDNN_OPTS:-1}"
start="${5:-}"
for stage in coarse_256 both_256 coarse_512 both_512; do
    python train.py --flagfile="docs/weights/$stage.cfg" --train_data="$1" --val_data="$2" \
        --templates="$3" --workdir="$4/$stage" ${start:+--init_from="$start"}
    start="$4/$stage/best.weights.h5"
done
