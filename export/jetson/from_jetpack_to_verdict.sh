#!/usr/bin/env bash
# From a bare JetPack to a verdict: check the machine, install edgeseg beside JetPack's TensorRT, build the bundle's
# engine, time it against a camera's rate. README.md beside this file says what each step is for.
set -euo pipefail

usage() {
    cat <<'END'
Usage: from_jetpack_to_verdict.sh [OPTION]... BUNDLE FPS

Ends with the exit code of 'edgeseg bench': 0 the rate is met, 3 missed, 4 the measurement is invalid.
Before that: 1 a build was refused, 2 something for you to put right.

  --install WHAT     what pip installs: a wheel, a folder of source, or a name (default: edgeseg)
  --precision NAME   int8 or fp16 (default: int8)
  --venv DIR         the virtual environment, made if it is not there (default: ./edgeseg-venv)
  --out FILE.json    where the samples go; FILE.device.txt and FILE.tegrastats.txt beside it (default: bench.json)
  --cuda MAJOR       of CUDA, where it is not the one that came with JetPack
  --set-power MODE   'nvpmodel -m MODE' and 'jetson_clocks' first; otherwise both are only shown
  --dry-run          print the commands and run none
  --help             this text
END
}

say() { printf '%s\n' "$*" >&2; }
refuse() { say "error: $*"; exit 2; }
run() {
    printf '+' >&2
    printf ' %q' "$@" >&2
    printf '\n' >&2
    if [[ -z $dry_run ]]; then "$@"; fi
}

install=edgeseg precision=int8 venv=edgeseg-venv out=bench.json cuda='' power='' dry_run=''
given=()
while (($#)); do
    case $1 in
        --help) usage; exit 0 ;;
        --dry-run) dry_run=yes; shift ;;
        --install | --precision | --venv | --out | --cuda | --set-power)
            (($# > 1)) || refuse "$1 needs a value (see --help)"
            case $1 in
                --install) install=$2 ;;
                --precision) precision=$2 ;;
                --venv) venv=$2 ;;
                --out) out=$2 ;;
                --cuda) cuda=$2 ;;
                --set-power) power=$2 ;;
            esac
            shift 2 ;;
        -*) refuse "no option $1 (see --help)" ;;
        *) given+=("$1"); shift ;;
    esac
done
((${#given[@]} == 2)) || refuse "expected BUNDLE and FPS, got ${#given[@]} arguments (see --help)"
bundle=${given[0]} fps=${given[1]}
[[ $fps =~ ^[0-9]+(\.[0-9]+)?$ && ! $fps =~ ^[0.]+$ ]] || refuse "FPS is a number above 0, got '$fps'"
[[ $precision =~ ^(int8|fp16)$ ]] || refuse "--precision is int8 or fp16, got '$precision'"
[[ $out == *.json ]] || refuse "--out is a file ending in .json, got '$out'"
[[ -z $cuda || $cuda =~ ^[0-9]+$ ]] || refuse "--cuda is a major version such as 12, got '$cuda'"

release_file=${L4T_RELEASE_FILE:-/etc/nv_tegra_release} # "# R36 (release), REVISION: 4.3, GCID: ..."
l4t=''
if [[ -r $release_file ]]; then
    first=$(head -n 1 "$release_file")
    [[ $first =~ R([0-9]+) ]] && l4t=${BASH_REMATCH[1]}
fi
if [[ -z $cuda ]]; then
    case $l4t in
        36) cuda=12 ;;
        38 | 39) cuda=13 ;;
    esac
fi

check() {
    [[ -f $bundle/provenance.json ]] || refuse "$bundle is not a bundle: it has no provenance.json"
    [[ -w $bundle ]] || refuse "$bundle cannot be written to, and its plan goes there: copy it to where it can"
    [[ -n $l4t ]] || refuse "no Jetson Linux here: $release_file is missing, or names no release"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        refuse "Jetson Linux $l4t has $(python3 --version 2>&1), and edgeseg needs 3.10: flash JetPack 6 or later"
    [[ -n $cuda ]] || refuse "which CUDA comes with Jetson Linux $l4t is not known here: say --cuda MAJOR"
    tensorrt=$(python3 -c 'import tensorrt; print(tensorrt.__version__)' 2>/dev/null) ||
        refuse "python3 has no tensorrt: sudo apt-get install nvidia-jetpack (or python3-libnvinfer and its libraries)"
    python3 -c 'import ensurepip' 2>/dev/null ||
        refuse "python3 cannot make a virtual environment: sudo apt-get install python3-venv"
    local free_mib
    free_mib=$(df -Pm . | awk 'NR == 2 { print $4 }')
    ((free_mib >= 2048)) || refuse "$free_mib MiB are free here; 2048 are needed"
    say "Jetson Linux $l4t, CUDA $cuda, TensorRT $tensorrt, $free_mib MiB free"
}

describe() { # what a measurement on this device depends on; needs root on some releases
    cat "$release_file"
    echo "TensorRT $tensorrt"
    sudo nvpmodel -q || echo 'nvpmodel: cannot be read'
    sudo jetson_clocks --show || echo 'jetson_clocks: cannot be read'
}

if [[ -z $dry_run ]]; then check; fi
if [[ -n $power ]]; then
    run sudo nvpmodel -m "$power" # asks, and reboots, where the mode needs it: then run this script again
    run sudo jetson_clocks
fi
if [[ -z $dry_run ]]; then
    describe | tee "${out%.json}.device.txt" >&2
else
    run sudo nvpmodel -q
    run sudo jetson_clocks --show
fi

run python3 -m venv --system-site-packages "$venv" # sees JetPack's tensorrt, which pip does not have for it
run "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${install}[cuda]" "cuda-bindings==${cuda:-N}.*"
run "$venv/bin/edgeseg" doctor
run "$venv/bin/edgeseg" build "$bundle" --target trt --precision "$precision"

watch=''
if [[ -z $dry_run ]] && command -v tegrastats >/dev/null; then
    tegrastats --interval 1000 --logfile "${out%.json}.tegrastats.txt" >/dev/null &
    watch=$!
    trap 'kill "$watch" 2>/dev/null || true; wait "$watch" 2>/dev/null || true' EXIT
fi
code=0
run "$venv/bin/edgeseg" bench "$bundle" --target trt --precision "$precision" --fps "$fps" --out "$out" || code=$?
exit "$code"
