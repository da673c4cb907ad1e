#!/usr/bin/env bash
# Measures and trains on a GPU machine that is lent for minutes and has no network.
#
#   make gpu-pack                        # here: the data in two parts and the wheels that are missing there
#   scripts/gpu_jobs.sh A OUT [SECONDS]  # there; carry gpu_pack/wheels and gpu_pack/part0: benchmarks
#   scripts/gpu_jobs.sh D OUT            # there; carry gpu_pack/part1: installs and unpacks, which B and C do otherwise
#   scripts/gpu_jobs.sh B OUT [SECONDS]  # there: configs/b0_cifar100_best.py, EPOCHS of it or as many as fit
#   STUDIES="grid_search:grid_search_cpu:2" scripts/gpu_jobs.sh C OUT [SECONDS]  # there: two workers of a search
# After D, B and C may run side by side: one compiles while the other computes.
#
# Each job has a limit of its own and leaves its record in OUT as soon as it ends: OUT/<part>.tar.gz, one file a part.
# SECONDS is what the whole part may take. REHEARSE=1 does two steps a job, on whatever device there is.
set -uo pipefail
cd "$(dirname "$0")/.."
part=$1 out=$(mkdir -p "$2" && cd "$2" && pwd) limit=${3:-240}
work=${GPU_WORK:-/tmp/effnet_gpu}
records=$work/records_$part
mkdir -p "$records" "$work/parts"
export EFFNET_JAX_CACHE=$work/cache XLA_PYTHON_CLIENT_PREALLOCATE=false PYTHONUNBUFFERED=1
EFFNET_JAX_COMMIT=$(cat gpu_pack/commit.txt 2>/dev/null || echo unknown)
export EFFNET_JAX_COMMIT
started=$SECONDS

left() { echo $((limit - SECONDS + started)); }
say() { printf '[%4d s] %s\n' $((SECONDS - started)) "$*"; }
keep() { tar -C "$work" -czf "$out/$part.tar.gz.partial" "records_$part" && mv "$out/$part.tar.gz.partial" "$out/$part.tar.gz"; }

# job NAME LIMIT COMMAND...: runs it within its limit and what is left of the part; its log is a record.
job() {
  local name=$1 most=$2 rc=0
  shift 2
  (($(left) < most)) && most=$(left)
  if ((most < 10)); then say "$name: left out, no time"; return 1; fi
  timeout --signal=TERM --kill-after=10 "$most" "$@" >"$records/$name.log" 2>&1 || rc=$?
  say "$name: rc $rc, $(tail -n 1 "$records/$name.log" | cut -c1-160)"
  return $rc
}

# run NAME LIMIT CONFIG OVERRIDES...: one training run; its small files are its record.
run() {
  local name=$1 most=$2 config=$3 rc=0
  shift 3
  job "$name" "$most" python3 scripts/train.py --config "$config" --workdir "$work/runs/$name" "$@" ${tiny[@]+"${tiny[@]}"} || rc=$?
  mkdir -p "$records/$name"
  for file in config.json metrics.jsonl results.json curves.png; do
    [ -f "$work/runs/$name/$file" ] && cp "$work/runs/$name/$file" "$records/$name/"
  done
  return $rc
}

install() {
  if [ -d gpu_pack/wheels ] && [ ! -d "$work/site" ]; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$work/site" gpu_pack/wheels/*.whl
  fi
  export PYTHONPATH=$work/site${PYTHONPATH:+:$PYTHONPATH}
}

data() {
  ls -d "$EFFNET_JAX_CACHE"/cifar100-* >/dev/null 2>&1 || python3 scripts/gpu_pack.py unpack "$work/parts"
}

tiny=() tiny_study=() rounds=5 seconds=1.0 large=(256 224) small=(128) peers=timm,timm-compile
if [ -n "${REHEARSE:-}" ]; then
  tiny=(--config.num_train_steps=2 --config.log_every_steps=1 --config.steps_per_dispatch=1 --config.batch_size=8
    --config.eval_every_steps=2 --config.checkpoint_every_steps=2 --config.model.width_multiplier=0.25 --config.model.depth_multiplier=0.25)
  rounds=1 seconds=0.01 large=(2 32) small=(2)
  tiny_study=(--config.train.num_train_steps=2 --config.train.log_every_steps=1 --config.train.steps_per_dispatch=1 --config.train.batch_size=8
    --config.train.eval_every_steps=2 --config.train.checkpoint_every_steps=2)
fi
python3 -c 'import torch, timm' 2>/dev/null || { peers=; say "torch or timm is not here: no peers"; }

install
for folder in gpu_pack/part?; do [ -d "$folder" ] && cp -r "$folder" "$work/parts/"; done # the next call carries another
nvidia-smi --query-gpu=name,memory.total,driver_version,clocks.sm,clocks.mem --format=csv 2>/dev/null | tee "$records/device.txt"

case $part in
A)
  bench() { # NAME LIMIT OPTIONS...
    local name=$1 most=$2
    shift 2
    job "$name" "$most" python3 scripts/benchmark.py --rounds $rounds --round_seconds $seconds --output "$records/$name.md" "$@"
    keep
  }
  # Autotuning takes minutes for each step, so it comes last.
  flags=${XLA_FLAGS:-}
  export XLA_FLAGS="--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false $flags"
  bench train_224 120 --mode train --batch_size ${large[0]} --resolution ${large[1]} --dtype bfloat16 --peers "$peers"
  bench train_32 120 --mode train --batch_size ${small[0]} --resolution 32 --dtype bfloat16 --peers "$peers"
  bench depthwise 60 --mode train --batch_size ${large[0]} --resolution ${large[1]} --dtype bfloat16 --sections depthwise
  bench inference_224 120 --mode inference --batch_size ${large[0]} --resolution ${large[1]} --dtype bfloat16 --peers "$peers"
  bench profile 80 --mode train --batch_size ${large[0]} --resolution ${large[1]} --dtype bfloat16 --sections operations --profile "$work/trace"
  find "$work/trace" -name '*.xplane.pb' -size -12M -exec cp {} "$records/" \; 2>/dev/null
  for size in 64 128 512 1024; do
    bench train_224_$size 60 --mode train --batch_size $size --resolution ${large[1]} --dtype bfloat16
  done
  export XLA_FLAGS="--xla_gpu_enable_triton_gemm=false $flags"
  bench train_224_autotuned 400 --mode train --batch_size ${large[0]} --resolution ${large[1]} --dtype bfloat16
  ;;
B)
  data
  epochs=${EPOCHS:-}
  if [ -z "$epochs" ]; then  # measure the speed first; then as many epochs as fit, the cosine to their end
    run b0_cifar100_best_speed 150 configs/b0_cifar100_best.py --config.num_train_steps=261 --config.eval_every_steps=261 \
      --config.checkpoint_every_steps=261
    keep
    epochs=$(python3 - "$records/b0_cifar100_best_speed/metrics.jsonl" "$(left)" <<'PYTHON'
import json, sys
rates = [r["images_per_second"] for r in map(json.loads, open(sys.argv[1])) if r["split"] == "train"]
seconds = float(sys.argv[2]) - 45  # to start again, validate and evaluate
print(max(5, int(seconds * 0.93 * rates[-1] / 45_000) // 5 * 5))
PYTHON
    )
  fi
  say "best recipe: ${epochs:-none} epochs fit into $(left) s"
  run "b0_cifar100_best" "$(left)" configs/b0_cifar100_best.py --config.num_epochs="${epochs:-100}"
  ;;
C)
  data
  gather() {
    (cd "$work/runs" && find . -path '*/runs/*' -maxdepth 4 \( -name results.json -o -name metrics.jsonl -o -name config.json \) \
      -exec cp --parents {} "$records/" \;) 2>/dev/null
    keep
  }
  for study in $STUDIES; do # script:config:workers
    IFS=: read -r script config workers <<<"$study"
    for worker in $(seq "$workers"); do
      job "$config.$worker" "$limit" python3 "scripts/$script.py" --config "configs/$config.py" --workdir "$work/runs/$config" \
        ${tiny_study[@]+"${tiny_study[@]}"} &
    done
  done
  while [ -n "$(jobs -rp)" ]; do sleep 10; gather; done
  gather
  ;;
D) data ;;
*) echo "error: no part $part; choose A, B, C or D" >&2; exit 2 ;;
esac
keep
say "done; $out/$part.tar.gz is $(du -k "$out/$part.tar.gz" | cut -f1) KB"
