#!/usr/bin/env bash
# The experiments of docs/EXPERIMENTS.md: hours on two cores. Started again it goes on where it was; `popshift report OUT/NAME` has the figures.
#   tests/bench/experiments.sh NAME... --cifar10 DIR --cifar100 DIR --mnist DIR [--out DIR] [--seeds 1,2,3] [--threads N]
#   tests/bench/experiments.sh --list
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
P=${POPSHIFT:-$here/build/release/popshift} R=$here/trainer/recipes
out=experiments seeds=1,2,3 cifar10='' cifar100='' mnist='' threads=0 names=()

# run FOLDER RECIPE DATA [--set ..]: a run or sweep, gone on with where it has begun.
run() {
  local folder=$out/$1 recipe=$R/$2 data=$3; shift 3
  [ -n "$data" ] || { echo "experiments: this needs a folder of data: see the head of $0" >&2; exit 2; }
  mkdir -p "$(dirname "$folder")"
  local resume=(); [ -e "$folder" ] && resume=(--resume)
  local t=(); [ "$threads" = 0 ] || t=(--threads "$threads")
  "$P" train --recipe "$recipe" --data "$data" -o "$folder" "${resume[@]}" "${t[@]}" "$@"
}
each_seed() { tr , ' ' <<<"$seeds"; }

uniq_float='phases=[{name: float, lr: cosine(0.1), weight_decay: 5e-4, epochs: 15}]'
uniq_low='phases=[{name: low, quant: true, lr: cosine(0.02), weight_decay: 1e-4, epochs: 4}]'
uniq_start='phases=[{name: start, quant: true, lr: constant(0), epochs: 0, statistics: 50}]'
float_ends='quant.0={match: first|last}'

x_uniq() { # bits, first steps, levels: from one float run a seed
  local s
  for s in $(each_seed); do
    run uniq/float/seed=$s uniq-resnet8-cifar10.yaml "$cifar10" --set seed=$s --set "$uniq_float"
    for phases in "$uniq_start" "$uniq_low"; do
      local kind=low; [ "$phases" = "$uniq_start" ] && kind=start
      for bits in 4 3 2 1; do
        local ends=(); [ $bits = 1 ] && ends=(--set "$float_ends")
        for init in own lsq; do
          local first=(--set quant.1.init=$init); [ $bits = 1 ] || first+=(--set quant.0.init=$init)
          run uniq/$kind-$bits-$init/seed=$s uniq-resnet8-cifar10.yaml "$cifar10" --set seed=$s --init "$out/uniq/float/seed=$s" --set "$phases" \
            --set quant.1.weight=uniq/$bits --set quant.1.act=uniq/$bits "${ends[@]}" "${first[@]}"
        done
      done
      run uniq/$kind-2-signed/seed=$s uniq-resnet8-cifar10.yaml "$cifar10" --set seed=$s --init "$out/uniq/float/seed=$s" --set "$phases" --set quant.1.levels=signed
      run uniq/$kind-2-lsq-quantizer/seed=$s uniq-resnet8-cifar10.yaml "$cifar10" --set seed=$s --init "$out/uniq/float/seed=$s" --set "$phases" \
        --set quant.1.weight=lsq/2 --set quant.1.act=lsq/2
    done
  done
}

x_uniq1() { # one bit: warm-up or none, Adam or SGD, from the two-bit network
  local s
  for s in $(each_seed); do
    for how in 'adam-warm:optimizer: adam, lr: cosine(0.004), warmup: {epochs: 0.5, lr: 0.001, shape: constant}' 'adam:optimizer: adam, lr: cosine(0.004)' \
               'sgd-warm:lr: cosine(0.02), warmup: {epochs: 0.5, lr: 0.005, shape: constant}' 'sgd:lr: cosine(0.02)'; do
      run uniq1/${how%%:*}/seed=$s uniq-resnet8-cifar10.yaml "$cifar10" --set seed=$s --init "$out/uniq/low-2-own/seed=$s" --set "$float_ends" \
        --set quant.1.weight=uniq/1 --set quant.1.act=uniq/1 --set "phases=[{name: low, quant: true, ${how#*:}, epochs: 2}]"
    done
  done
}

# The learning rate of the runs FOLDER/lr=LR/seed=SEED that ended with the greatest accuracy.
best_lr() { for d in "$1"/lr=*; do echo "$(sed -n 's/.*"test_accuracy": \([.0-9]*\).*/\1/p' "$d/seed=$2/result.json" | tail -1) ${d##*=}"; done | sort -rn | sed -n '1s/.* //p'; }

x_s3() { # ternary and 3 bits against their baselines: three learning rates of the first seed, and the best of them for the others
  local row name s lr first=${seeds%%,*} what low=s3-resnet8-cifar10.yaml
  for row in s3/3 staircase/3 s3/2 twn/2 deepshift_q/5 float; do
    name=s3/${row/\//-}
    case $row in
      float) what=(--set phases.0.quant=false) ;;
      twn/* | deepshift*) what=(--set "quant.1={match: \"*\", weight: $row}") ;;
      *) what=(--set quant.1.weight="$row") ;;
    esac
    at() { run "$name/lr=$1/seed=$2" $low "$cifar10" --set seed="$2" "${what[@]}" --set "phases.0.lr=cosine($1)" --set phases.0.epochs=4; }
    for lr in 0.05 0.1 0.2; do at $lr "$first"; done
    lr=$(best_lr "$out/$name" "$first")
    for s in $(each_seed); do at "$lr" "$s"; done
  done
}

x_s3_20() { # 3 bits and float on 20 layers
  local row what
  for row in s3/3 float; do
    what=(--set quant.1.weight=s3/3); [ $row = float ] && what=(--set phases.0.quant=false)
    run s3_20/${row/\//-} s3-resnet8-cifar10.yaml "$cifar10" --set net.builtin=resnet20 "${what[@]}" --set phases.0.epochs=3
  done
}

x_resnet32() { # UniQ's own set: float, LSQ and UniQ at two bits, one seed
  run resnet32/float uniq-resnet32-cifar100.yaml "$cifar100" --set "phases=[{name: float, lr: cosine(0.1), weight_decay: 5e-4, epochs: 7}]"
  local low='phases=[{name: low, quant: true, lr: cosine(0.02), weight_decay: 1e-4, epochs: 3}]'
  run resnet32/uniq uniq-resnet32-cifar100.yaml "$cifar100" --init "$out/resnet32/float" --set "$low"
  run resnet32/lsq uniq-resnet32-cifar100.yaml "$cifar100" --init "$out/resnet32/float" --set "$low" --set quant.0.weight=lsq/8 --set quant.0.act=lsq/8 --set quant.1.weight=lsq/2 --set quant.1.act=lsq/2
}

x_ag() { # plain and residual nets of 20 layers, two bits by DoReFa from one float net a seed: alone, with auxiliary module (in this phase, in both), with stochastic precision
  local s variant how float low
  for variant in plain residual; do
    local epochs=(8 5); [ $variant = residual ] && epochs=(4 2)
    float="{name: float, lr: cosine(0.05), nesterov: true, weight_decay: 1e-4, epochs: ${epochs[0]}}" low="{name: w2a2, quant: true, optimizer: adam, lr: cosine(1e-3), epochs: ${epochs[1]}"
    for s in $(each_seed); do
      ag_run() { local name=$1; shift; run ag/$variant-$name/seed=$s ag-plain20-cifar10.yaml "$cifar10" --set seed=$s --set net.variant=$variant "$@"; }
      ag_run float --set auxiliary.mode=none --set "phases=[$float]"
      for how in alone:none: ag:one-pass: ssp:none:', ssp: {start: 0.5, until: 0.57, fragment: block}'; do
        local mode=${how#*:}
        ag_run ${how%%:*} --init "$out/ag/$variant-float/seed=$s" --set auxiliary.mode=${mode%%:*} --set "phases=[$low${mode#*:}}]"
      done
    done
  done
}

x_ag_both() { # the module in both phases against none, two epochs each: what it gives where training is short
  local s mode
  for s in $(each_seed); do
    for mode in none one-pass; do
      run ag_both/$mode/seed=$s ag-plain20-cifar10.yaml "$cifar10" --set seed=$s --set auxiliary.mode=$mode --set phases.0.epochs=2 --set phases.1.epochs=2 --set "phases.1.lr=cosine(1e-3)"
    done
  done
}

x_alq() { run alq/lenet5 alq-lenet5-mnist.yaml "$mnist"; }

x_alq_vgg() { # VGG-small/4: float on all the data, and from there to 0.4 bits on two fifths of it
  local r=alq-vgg-cifar10.yaml
  run alq_vgg/float $r "$cifar10" --set 'phases=[{name: float, lr: cosine(0.05), warmup: {epochs: 0.5, lr: 0.005}, weight_decay: 5e-4, epochs: 5}]'
  run alq_vgg/bits $r "$cifar10" --init "$out/alq_vgg/float" --set phases.0.epochs=0 --set phases.0.warmup.epochs=0 --set phases.0.keep=false --set 'data.train=[data_batch_1.bin, data_batch_2.bin]'
}

x_predictions() { # every exported network of a finished run, compiled: the classes of generated C and of the JIT against the trainer's, on all test images
  local file model inputs labels engine of differ total=0 bad=0 tmp
  tmp=$(mktemp)
  while read -r file; do
    model=${file%.predictions}.onnx
    case $file in
      */resnet32/*) inputs=$cifar100/test.bin labels=$inputs ;;
      */alq/*) inputs=$mnist/t10k-images-idx3-ubyte.gz labels=$mnist/t10k-labels-idx1-ubyte.gz ;;
      *) inputs=$cifar10/test_batch.bin labels=$inputs ;;
    esac
    for engine in c jit; do
      "$P" score "$model" --inputs "$inputs" --labels "$labels" --engine $engine --predictions "$tmp" -q >/dev/null || { echo "$model: $engine failed"; bad=$((bad + 1)); continue; }
      differ=$(paste "$file" "$tmp" | awk '$1 != $2' | wc -l) of=$(wc -l <"$file") total=$((total + 1))
      [ "$differ" = 0 ] && [ "$of" = "$(wc -l <"$tmp")" ] || { echo "$model: $engine: $differ of $of classes differ"; bad=$((bad + 1)); }
    done
  done < <(find "$out" -name '*.predictions' | sort)
  rm -f "$tmp"
  echo "$total comparisons, $bad with a difference"
}

while [ $# -gt 0 ]; do
  case $1 in
    --list) declare -F | sed -n 's/^declare -f x_//p'; exit ;;
    --out | --seeds | --cifar10 | --cifar100 | --mnist | --threads) printf -v "${1#--}" %s "${2:?}"; shift ;;
    -*) sed -n 2,4p "$0" >&2; exit 2 ;;
    *) declare -F "x_$1" >/dev/null || { echo "experiments: no experiment '$1' (--list)" >&2; exit 2; }; names+=("$1") ;;
  esac
  shift
done
[ ${#names[@]} -gt 0 ] || { sed -n 2,4p "$0" >&2; exit 2; }
for name in "${names[@]}"; do "x_$name"; done
