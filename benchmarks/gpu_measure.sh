#!/usr/bin/env bash
# One short run on a GPU: everything that is worth measuring, the most valuable
# first. Run it in the repository's root, after `gpu_prepare.sh`:
#
#   bash benchmarks/gpu_measure.sh            on a GPU, less than 8 minutes
#   DRY=1 bash benchmarks/gpu_measure.sh      tiny sizes, on any CPU
#
# Each step has a limit of its own, and none that fails ends the others. After
# each step all figures so far are in $OUT/gpu.json; $OUT/log.txt has the rest.
# With DRY=1 the exit status is the number of steps that failed.
set -u
cd "$(dirname "$0")/.."
export OUT=${OUT:-/tmp/gpu_measure} DRY=${DRY:-} PYTHONUNBUFFERED=1
export TF_CPP_MIN_LOG_LEVEL=2 XLA_PYTHON_CLIENT_MEM_FRACTION=.6
# Programs that several steps share are compiled once.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-/tmp/gpu_jax}
python=${PYTHON:-python3} total=${TOTAL:-480} began=$SECONDS failed=0
parts=$(mktemp -d) site=$(mktemp -d)
mkdir -p "$OUT"
exec > >(tee "$OUT/log.txt") 2>&1

left() { echo $((total - SECONDS + began)); }

# step NAME SECONDS COMMAND...: the command may write $parts/NAME.json.
step() {
  local name=$1 limit=$2 start=$SECONDS status
  shift 2
  if [ -n "$DRY" ]; then limit=600; else
    [ "$limit" -le "$(left)" ] || limit=$(left)
    if [ "$limit" -lt 10 ]; then
      echo "--- $name: left out, $(left) s left"
      return 1
    fi
  fi
  echo "--- $name"
  # Inside its limit a script stops by itself and keeps what it has.
  SECONDS_ALLOWED=$((limit * 8 / 10)) timeout -k 5 "$limit" "$@"
  status=$?
  echo "--- $name: status $status after $((SECONDS - start)) s, $(left) s left"
  [ $status = 0 ] || failed=$((failed + 1))
  "$python" benchmarks/gpu/collect.py "$parts" "$OUT/gpu.json" \
    "$name" $status $((SECONDS - start))
  return $status
}

# A benchmark with its peers; if that fails, ours alone.
timed() {
  local name=$1 limit=$2
  shift 2
  step "$name" "$limit" "$python" -m "$@" --json="$parts/$name.json" ||
    [ -n "$DRY" ] ||
    step "$name" "$limit" "$python" -m "$@" --peers= --json="$parts/$name.json"
}

nvidia-smi --query-gpu=name,driver_version,clocks.sm,memory.total \
  --format=csv,noheader || echo 'No NVIDIA driver.'
"$python" --version
if compgen -G '.whl/*.whl' > /dev/null; then
  step wheels 60 "$python" -m pip install -q --no-index --no-deps --no-compile \
    --no-cache-dir --upgrade --target="$site" .whl/*.whl
  export PYTHONPATH=$PWD:$site
else
  export PYTHONPATH=$PWD
fi
corpus=grammar
if [ -d .gpu/data/ptb ]; then
  corpus=ptb
  export RNNVAE_DATA_DIR=$PWD/.gpu/data
fi
# The benchmarks run on Penn Treebank or on sentences of the grammar, the dry run
# on tiny models.
layers=(--cells=gru,lstm --repetitions=3)
steps=(--corpus="$corpus" --repetitions=5 --peers=torch_best,torch_eager)
if [ -n "$DRY" ]; then
  export JAX_PLATFORMS=cpu
  corpus=grammar
  first=("${layers[@]}" --batch_sizes=3 --lengths=4 --hidden_sizes=8)
  large=("${first[@]}")
  steps=(--corpus=grammar --repetitions=1 --peers=torch_best,torch_eager
    --hidden_size=8 --batch_size=4 --notorch_compile)
  trials=(--corpus=grammar --trials=2 --repetitions=1 --hidden_size=8
    --batch_size=4)
  traced=(--hidden_size=8 --batch_size=4)
  drawn=(--repetitions=1 --sentences=4 --max_length=5 --hidden_size=8)
  epoch=(--config=configs/gru_vae.py:grammar,tiny
    --config.evaluate.split=none)
else
  first=("${layers[@]}" --batch_sizes=32 --lengths=64 --hidden_sizes=256)
  large=("${layers[@]}" --batch_sizes=32,128 --lengths=64,512
    --hidden_sizes=512,1024 --backends=fused,pallas,cluster,cudnn
    --peers=torch)
  trials=(--corpus="$corpus" --trials=32 --repetitions=3)
  traced=(--corpus="$corpus")
  drawn=(--repetitions=5)
  epoch=(--config=configs/gru_vae.py:"$corpus" --config.train.num_steps=1320
    --config.train.steps_per_call=20 --config.train.eval_every=1320
    --config.objective.kl_anneal_steps=400 --config.evaluate.split=none)
fi

# (a) Right or wrong.
step correctness 70 "$python" -m benchmarks.gpu.correctness \
  --json="$parts/correctness.json" || true
# (b) The layers that matter most, and (c) training steps.
timed recurrence_bfloat16 45 benchmarks.recurrence "${first[@]}" \
  --precision=bfloat16 || true
for precision in bfloat16 float32; do
  timed "step_$precision" 65 benchmarks.step_throughput "${steps[@]}" \
    --precision="$precision" || true
done
# (g) Memory and (h) the kernels of an update.
step trace 60 "$python" -m benchmarks.gpu.trace "${traced[@]}" \
  --json="$parts/trace.json" || true
# (d) One epoch of the library's own training.
step epoch 50 "$python" -m rnnvae_jax.main "${epoch[@]}" \
  --workdir="$site/run" || true
# (e) A population and (f) decoding.
timed population 40 benchmarks.population "${trials[@]}" || true
timed decode 30 benchmarks.decode "${drawn[@]}" || true
# (b) and (c) The rest, as far as time allows.
timed step_tf32 60 benchmarks.step_throughput "${steps[@]}" \
  --precision=tf32 || true
for precision in float32 tf32; do
  timed "recurrence_$precision" 40 benchmarks.recurrence "${first[@]}" \
    --precision="$precision" || true
done
for precision in bfloat16 float32 tf32; do
  timed "recurrence_large_$precision" 60 benchmarks.recurrence "${large[@]}" \
    --precision="$precision" || true
done
echo "=== $failed steps failed, $(left) s left"
rm -rf "$parts" "$site"
[ -z "$DRY" ] || exit "$failed"
