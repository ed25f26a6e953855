#!/usr/bin/env bash
# One short run on a GPU: everything that is worth measuring, the most valuable
# first. Run it in the repository's root, after `gpu_prepare.sh`:
#
#   bash benchmarks/gpu_measure.sh            on a GPU, less than 10 minutes
#   DRY=1 bash benchmarks/gpu_measure.sh      tiny sizes, on any CPU
#
# Steps run one after the other, each with its compilation: nine that compiled side
# by side on the 16 cores of a machine with an H200 took more than 150 s, as XLA
# tries kernels on the one GPU, too. A step has a limit of its own, and none that
# fails ends the others. After each step all figures so far are in $OUT/gpu.json;
# $OUT/log.txt has the rest. STEPS='NAME ...' runs these alone, in the order of the
# script. With DRY=1 the exit status is the number of steps that failed.
set -u
cd "$(dirname "$0")/.."
export OUT=${OUT:-/tmp/gpu_measure} DRY=${DRY:-} PYTHONUNBUFFERED=1
export TF_CPP_MIN_LOG_LEVEL=2 XLA_PYTHON_CLIENT_MEM_FRACTION=.6
# Programs that several steps share are compiled once.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-/tmp/gpu_jax}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
python=${PYTHON:-python3} total=${TOTAL:-570} began=$SECONDS failed=0
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
if [ -n "$DRY" ]; then
  export JAX_PLATFORMS=cpu
  corpus=grammar tiny=(--hidden_size=8 --batch_size=4)
  steps=(--repetitions=1 --notorch_compile "${tiny[@]}")
  hopper='' sizes=8
  first=(--batch_sizes=3 --lengths=4 --hidden_sizes=8)
  large=("${first[@]}")
  trials=(--trials=2 --repetitions=1 "${tiny[@]}")
  drawn=(--repetitions=1 --sentences=4 --max_length=5 --hidden_size=8)
  epoch=(--config=configs/gru_vae.py:grammar,tiny)
else
  tiny=()
  steps=(--repetitions=5)
  hopper=cluster sizes=256,64,512
  first=(--batch_sizes=32 --lengths=64 --hidden_sizes=256)
  large=(--batch_sizes=32,128 --lengths=64,512 --hidden_sizes=512,1024
    --backends=fused,cluster --peers=torch)
  trials=(--trials=32 --repetitions=3)
  drawn=(--repetitions=5)
  epoch=(--config=configs/gru_vae.py:"$corpus" --config.train.num_steps=1320
    --config.train.steps_per_call=20 --config.train.eval_every=1320
    --config.objective.kl_anneal_steps=400
    --config.model.precision=bfloat16)
fi
steps+=(--corpus="$corpus" --peers=torch_best,torch_eager)
trials+=(--corpus="$corpus")
first+=(--cells=gru,lstm --repetitions=3)
large+=(--cells=gru,lstm --repetitions=3)
epoch+=(--config.evaluate.split=none)

# The command of a step, in $command. float32 has no cluster kernels.
describe() {
  local precision=${1##*_} also=$hopper
  [ "$precision" != float32 ] || also=
  case $1 in
    correctness_*) command=(benchmarks.gpu.correctness --sizes="$sizes"
      --backends=${hopper:+cluster,}fused) ;;
    step_*) command=(benchmarks.step_throughput "${steps[@]}" --also="$also") ;;
    trace_*) command=(benchmarks.gpu.trace --corpus="$corpus" "${tiny[@]}"
      --backend="${also:-fused}") ;;
    recurrence_large_*) command=(benchmarks.recurrence "${large[@]}") ;;
    recurrence_*) command=(benchmarks.recurrence "${first[@]}") ;;
    population) command=(benchmarks.population "${trials[@]}") ;;
    decode) command=(benchmarks.decode "${drawn[@]}") ;;
    epoch) command=(rnnvae_jax.main "${epoch[@]}"
      --config.model.backend="${hopper:-auto}") ;;
  esac
  case $1 in *_float32 | *_tf32 | *_bfloat16)
    command+=(--precision="$precision") ;;
  esac
}

# timed NAME SECONDS
timed() {
  [ -z "${STEPS:-}" ] || [[ " $STEPS " = *" $1 "* ]] || return
  describe "$1"
  local place=(--json="$parts/$1.json")
  [ "$1" != epoch ] || place=(--workdir="$site/run")
  step "$1" "$2" "$python" -m "${command[@]}" "${place[@]}"
}

precisions='bfloat16 tf32 float32'
# Training steps and one epoch of the library's own training; layers; the kernels
# of an update, its memory and whether it repeats.
timed step_bfloat16 150
timed epoch 90
timed recurrence_bfloat16 60
timed step_float32 110
timed trace_bfloat16 60
timed recurrence_tf32 60
timed decode 60
timed recurrence_float32 60
timed population 90
# What takes longest to compile and has been measured before, then what a second
# run may begin with: steps in tf32, right or wrong, larger layers.
timed step_tf32 110
timed trace_float32 60
for precision in $precisions; do timed "correctness_$precision" 90; done
for precision in $precisions; do timed "recurrence_large_$precision" 90; done
echo "=== $failed steps failed, $(left) s left"
rm -rf "$parts" "$site"
[ -z "$DRY" ] || exit "$failed"
