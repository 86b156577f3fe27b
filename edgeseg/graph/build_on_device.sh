#!/usr/bin/env bash
# Builds this bundle's TensorRT engine on the device that will run it: an engine belongs to a GPU and to a version of
# TensorRT. Uses 'edgeseg build' where edgeseg is installed, which also checks the engine on the bundle's golden frames;
# otherwise plain trtexec, which does not.
#
#   bash plans/trt/build_on_device.sh [int8|fp16|fp32]
set -euo pipefail

precision=${1:-@PRECISION@}
digest=@DIGEST@
bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
case $precision in int8 | fp16 | fp32) ;; *) echo "expected int8, fp16 or fp32, got '$precision'" >&2; exit 2 ;; esac

if command -v edgeseg >/dev/null; then
    exec edgeseg build "$bundle" --target trt --precision "$precision"
fi

trtexec=$(command -v trtexec || true)
[ -n "$trtexec" ] || trtexec=/usr/src/tensorrt/bin/trtexec # where JetPack and the Debian packages put it
if [ ! -x "$trtexec" ]; then
    echo "neither edgeseg nor trtexec is here: pip install 'edgeseg[cuda]', or apt install libnvinfer-bin" >&2
    exit 2
fi

building=$(mktemp -d "$bundle/plans/.building-XXXXXX")
trap 'rm -rf "$building"' EXIT

# v8602 is 8.6.2, v100300 is 10.3.0, v110400 is 11.4.0.
number=$("$trtexec" --help 2>&1 | sed -n 's/.*\[TensorRT v\([0-9]*\)\].*/\1/p' | head -n 1)
if [ -z "$number" ]; then
    echo "$trtexec did not say its version" >&2
    exit 1
fi
if [ "$number" -lt 10000 ]; then
    version=$((number / 1000)).$((number / 100 % 10)).$((number % 100))
    # The builder chooses types, within what the flags allow.
    declare -A graphs=([int8]=int8.onnx [fp16]=float.onnx [fp32]=float.onnx)
    declare -A flags=([int8]="--int8 --fp16" [fp16]="--fp16" [fp32]="--noTF32")
else
    version=$((number / 10000)).$((number / 100 % 100)).$((number % 100))
    # The graph says what computes in what; from 11 on there is no other way, and no flag for it.
    declare -A graphs=([int8]=int8-fp16.onnx [fp16]=fp16.onnx [fp32]=float.onnx)
    typed=$([ "$number" -lt 110000 ] && echo "--stronglyTyped" || true)
    declare -A flags=([int8]=$typed [fp16]=$typed [fp32]="$typed --noTF32")
fi
if [ ! -f "$bundle/${graphs[$precision]}" ]; then
    echo "$bundle holds no ${graphs[$precision]}: export it with --target trt, from a run made by 'edgeseg qat' for int8" >&2
    exit 2
fi

# shellcheck disable=SC2086  # one word each
"$trtexec" --onnx="$bundle/${graphs[$precision]}" ${flags[$precision]} --profilingVerbosity=detailed \
    --saveEngine="$building/model.plan" --useCudaGraph --noDataTransfers 2>&1 | tee "$building/trtexec.log"
capability=$(sed -n 's/.*Compute Capability: \([0-9]*\)\.\([0-9]*\).*/\1\2/p' "$building/trtexec.log" | head -n 1)
if [ -z "$capability" ] || [ ! -s "$building/model.plan" ]; then
    echo "trtexec built no engine: see above" >&2
    exit 1
fi
cat >"$building/plan.json" <<JSON
{
  "backend": "trt",
  "bundle_digest": "$digest",
  "device": "sm$capability",
  "library": "tensorrt $version",
  "machine": "$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m)",
  "precision": "$precision"
}
JSON
plan=$bundle/plans/trt-$precision-sm$capability
rm -rf "$plan"
chmod 755 "$building"
mv "$building" "$plan"
trap - EXIT
echo "$plan is built and not verified: whoever loads it first with edgeseg runs the golden frames"
