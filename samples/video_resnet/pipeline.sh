#!/usr/bin/env bash
# Migrate every checkpoint of this folder to the other framework, prove each conversion, and use the result.
#
#     bash pipeline.sh [OUTPUT_FOLDER]        (default: ./converted)
#
# A template: put your checkpoints in the loop and your own networks in `networks`. Ends with 0 only when
# every checkpoint was converted and verified and answers as its source does.
set -euo pipefail
shopt -s nullglob

BNPORT=${BNPORT:-bnport}
PYTHON=${PYTHON:-python}
mkdir -p "${1:-converted}"
output=$(cd "${1:-converted}" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")"

# run_step REPORT COMMAND...: keep the JSON the command prints, and say what its exit code means.
run_step() {
    local report=$1 code=0
    shift
    "$@" --json > "$report" || code=$?
    case $code in
        0) return 0 ;;
        1) echo "verification failed, layer by layer: $report" >&2 ;;
        3) echo "not a checkpoint bnport can trust: $report" >&2 ;;
        4) echo "a layer's kind is undecided; $report lists them and the option to add" >&2 ;;
        5) echo "a framework is missing or cannot run a layer; see: $BNPORT doctor" >&2 ;;
        6) echo "reading or writing failed: $report" >&2 ;;
        *) echo "exit code $code from: $*" >&2 ;;
    esac
    return "$code"
}

# The networks on both sides: the kinds, eps and momentum of all layers are then known for certain, and a momentum that
# the twin forgot to invert is found. Without them bnport infers the kinds, and verifies with the frameworks' defaults.
networks=(--model torch_net.py:build --net mindspore_net.py:build)
failed=()
for source in *.pth *.safetensors *.ckpt; do
    case $source in
        *.ckpt) target=$output/$source.pth ;;
        *)      target=$output/$source.ckpt ;;
    esac
    # --verify makes a missing backend an error, where the default is a loud warning.
    if run_step "$target.convert.json" "$BNPORT" convert "$source" -o "$target" "${networks[@]}" --verify --force &&
        # convert has proved its own output; this proves the file as it lies there, any time later.
        run_step "$target.verify.json" "$BNPORT" verify "$source" "$target" "${networks[@]}" &&
        "$PYTHON" classify.py "$source" "$target"; then
        echo "done: $source -> $target"
    else
        failed+=("$source")
    fi
done

if ((${#failed[@]})); then
    echo "not migrated: ${failed[*]}" >&2
    exit 1
fi
