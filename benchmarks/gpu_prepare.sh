#!/usr/bin/env bash
# Makes what `gpu_measure.sh` needs on a GPU machine that reaches no registry:
# .whl, the wheels of gpu_wheels.txt, and .gpu, the text of Penn Treebank and the
# commit. Git ignores both. Penn Treebank must be below $RNNVAE_DATA_DIR, unless
# the script is called with --without-text.
set -eu
cd "$(dirname "$0")/.."
rm -rf .gpu .whl
mkdir -p .gpu/data .whl
git describe --always --abbrev=40 --exclude='*' --dirty > .gpu/commit
if [ -d "${RNNVAE_DATA_DIR:-}/ptb" ]; then
  cp -r --no-preserve=mode "$RNNVAE_DATA_DIR/ptb" .gpu/data/
elif [ "${1:-}" != --without-text ]; then
  echo 'There is no ptb below $RNNVAE_DATA_DIR. With --without-text the steps' \
    'are measured on the built-in grammar.' >&2
  exit 1
fi
grep -v -e '^#' -e '^promise' benchmarks/gpu_wheels.txt > .gpu/wheels.txt
python3 -m pip download -q --no-deps --only-binary=:all: \
  --python-version=3.12 --implementation=cp \
  --platform=manylinux_2_28_x86_64 --platform=manylinux_2_27_x86_64 \
  --platform=manylinux_2_24_x86_64 --platform=manylinux_2_17_x86_64 \
  --platform=manylinux2014_x86_64 --dest=.whl --requirement=.gpu/wheels.txt
python3 -m pip wheel -q --no-deps --wheel-dir=.whl \
  "$(grep '^promise' benchmarks/gpu_wheels.txt)"
du -sm .gpu .whl
echo 'On the GPU machine, with .gpu and .whl: bash benchmarks/gpu_measure.sh'
